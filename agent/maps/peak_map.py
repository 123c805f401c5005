"""The Δq map: every alloy of a space through the ensemble, q1 and Δq of each, one Parquet file.

A large space is mapped in shards of ranks, each a file of its own until all are there: a map that is killed goes on
with the shards that are missing, and several processes can each write some of them.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from glassmap.agent.atomic_file import partial_beside, sync, write_whole
from glassmap.agent.data.composition import SAME_ALLOY, CompositionSpace
from glassmap.agent.models.base_model import BLOCK
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.shapes import Axis, Composition, Compositions, PerSample

SHARD = 64 * BLOCK  # alloys measured and written at once; whole blocks, or a spectrum's last bits differ


class MapBlock(NamedTuple):
    """q1 and Δq of some alloys, as an ensemble sees them; NaN where its spectrum has no trustworthy peak. In 1/Å."""

    q1: PerSample
    q1_spread: PerSample  # of all base models' members, about it; NaN where fewer than two find a peak
    delta_q: PerSample
    delta_q_spread: PerSample
    peak_share: PerSample  # share of the members of all base models with a trustworthy peak


def map_block(ensemble: TrainedEnsemble, compositions: Compositions, *, q: Axis) -> MapBlock:
    """q1 and Δq of each alloy's mean spectrum; their spread and share from what each member predicts alone.

    The spread is about the mean spectrum's figure: a mean of peaks at different places is wider than each of them.
    Spectra stay on the ensemble's device; only the five figures of an alloy leave it.
    """
    blocks: list[Tensor] = []
    for mean, members in ensemble.predict_blocks(compositions):
        peaks = measure_peaks(q, torch.cat([mean[:, None], members], dim=1).flatten(0, 1))
        found, q1, delta_q = (part.view(len(mean), -1).double() for part in (peaks.found, peaks.q1, peaks.delta_q))
        there = found[:, 0] > 0
        columns = [found[:, 1:].mean(1)]
        for figure in (delta_q, q1):
            said = figure[:, 0].where(there, torch.nan)
            columns = [said, _spread(figure[:, 1:], found[:, 1:] > 0, said), *columns]
        blocks.append(torch.stack(columns))
    return MapBlock(*torch.cat(blocks, dim=1).cpu().numpy())


def _spread(values: Float[Tensor, "b v"], found: Bool[Tensor, "b v"], said: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Standard deviation of the members with a peak from the mean spectrum's; NaN where they are too few."""
    squares = (values - said[:, None]).square().where(found, 0).sum(1)
    count = found.sum(1)
    return (squares / (count - 1).clamp(min=1)).sqrt().where(count > 1, torch.nan)


@dataclass(frozen=True)
class PeakMap:
    """A map to be made: of which alloys, by which ensemble, and what is said of it in the file."""

    ensemble: TrainedEnsemble
    """Trained."""
    space: CompositionSpace
    """Its elements in the ensemble's order."""
    q: Axis
    """The ensemble's axis in 1/Å, shape `(q,)`."""
    measured: Compositions
    """What the ensemble learned from, atomic fraction; distances are to the nearest."""
    metadata: dict[str, Any]
    """Said in the file under the key `glassmap`; JSON types. Shards of other metadata are another map's."""

    @property
    def shards(self) -> range:
        """Numbers of the shards; shard k holds the `SHARD` alloys from rank k `SHARD` on."""
        return range(-(-len(self.space) // SHARD))

    def shard_folder(self, folder: Path) -> Path:
        """Where a map's shards are until all are there; the same for every process that makes this map."""
        text = json.dumps([self.metadata, repr(self.space), version("glassmap")], sort_keys=True)
        digest = hashlib.sha256(text.encode() + self.measured.tobytes() + self.q.tobytes()).hexdigest()[:16]
        return folder / f".shards-{digest}"

    def write_shard(self, number: int, folder: Path) -> Path:
        """Map one shard, unless it is there already; all of its file or none.

        Several processes may write shards of one map, each some numbers; they have to be done before one of them calls
        `write`, which gathers the shards and tidies them away.
        """
        path = self.shard_path(number, folder)
        if not path.exists():
            write_whole(path, self.shard(self.ranks(number)))
        return path

    def shard_path(self, number: int, folder: Path) -> Path:
        """Where a shard is, or will be."""
        return self.shard_folder(folder) / f"{number:06d}.parquet"

    def ranks(self, number: int) -> range:
        """Of the alloys of a shard."""
        return range(number * SHARD, min((number + 1) * SHARD, len(self.space)))

    def shard(self, ranks: range) -> bytes:
        """Map the alloys of some ranks; the content of a Parquet file with the columns of `write`.

        Args:
            ranks: Beginning with a multiple of `BLOCK`.
        """
        rows = np.arange(ranks.start, ranks.stop)
        compositions = self.space.compositions(rows)
        block = map_block(self.ensemble, compositions, q=self.q)
        distance = 100 * KDTree(self.measured).query(compositions)[0]
        at_pct = (self.space.parts(rows) * self.space.step_at_pct).astype(np.uint8)
        columns = [*at_pct.T, *(figure.astype(np.float32) for figure in (*block, distance))]
        table = pa.table([np.ascontiguousarray(column) for column in columns], schema=self._schema)
        content = BytesIO()
        pq.write_table(table, content, compression="zstd")
        return content.getvalue()

    def write(self, folder: Path, *, report: Callable[[int, int], None] | None = None) -> Path:
        """Map every alloy into one Parquet file, called by the hash of its content; return its path.

        Columns: at.% of each element, then `q1`, `q1_spread`, `delta_q`, `delta_q_spread` (1/Å), `peak_share` and
        `distance` to the nearest measured alloy (at.%).

        Args:
            folder: Made where it doesn't exist.
            report: Called after every shard with the alloys done and their number.
        """
        folder.mkdir(parents=True, exist_ok=True)
        partial = partial_beside(folder / "map.parquet")
        try:
            with pq.ParquetWriter(partial, self._schema, compression="zstd") as writer:
                for number in self.shards:
                    writer.write_table(self._read_shard(number, folder))
                    if report is not None:
                        report(min((number + 1) * SHARD, len(self.space)), len(self.space))
            sync(partial)
            with partial.open("rb") as file:
                path = folder / f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.parquet"
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        shutil.rmtree(self.shard_folder(folder), ignore_errors=True)
        return path

    def _read_shard(self, number: int, folder: Path) -> pa.Table:
        """One shard, made where it is missing or can't be read."""
        path = self.write_shard(number, folder)
        try:
            return pq.read_table(path, schema=self._schema)
        except pa.ArrowInvalid:  # harmed by what no program can prevent, such as a failing disk
            path.unlink()
            return pq.read_table(self.write_shard(number, folder), schema=self._schema)

    @property
    def _schema(self) -> pa.Schema:
        fields = [(element, pa.uint8()) for element in self.space.elements]
        schema = pa.schema(fields + [(name, pa.float32()) for name in (*MapBlock._fields, "distance")])
        return schema.with_metadata({"glassmap": json.dumps(self.metadata, sort_keys=True)})


def block_of(space: CompositionSpace, composition: Composition) -> tuple[Compositions, int]:
    """The alloys that a map sends through the network together with this one, and its row among them.

    How many alloys go through at once decides the last bits of each spectrum; with its block, an alloy's is what the
    map saw to the bit, on the same device. An alloy off the map's grid comes alone.
    """
    parts = np.rint(composition * 100 / space.step_at_pct).astype(np.int64)[None]
    off = np.abs(parts[0] * space.step_at_pct / 100 - composition).max()
    if off > SAME_ALLOY or not space.contains(parts)[0]:
        return composition[None], 0
    rank = int(space.rank(parts)[0])
    start = rank - rank % BLOCK
    return space.compositions(np.arange(start, min(start + BLOCK, len(space)))), rank - start

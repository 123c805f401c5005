"""The peak map: every alloy of a space through the ensemble, the figures of its first peak, one Parquet file.

A large space is mapped in shards of ranks, each a file of its own until all are there: a map that is killed goes on
with the shards that are missing, and several processes can each write some of them.
"""

# pyarrow and SciPy have no types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.spatial import KDTree
from torch import Tensor

from glassmap import __version__
from glassmap.agent.atomic_file import write_by_content, write_whole
from glassmap.agent.data.composition import SAME_ALLOY, CompositionSpace
from glassmap.agent.data.context import Columns
from glassmap.agent.maps.glass import P_GLASS, GlassRule
from glassmap.agent.models.base_model import LARGEST_BLOCK
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.models.figure_forecast import FORECAST, FigureForecast, Said, std_about
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Axis, Composition, Compositions, PerSample

SHARD = LARGEST_BLOCK  # alloys measured and written at once; whole blocks, or a spectrum's last bits differ

AS_PUBLISHED = GlassRule()

MAP_FIGURES = (
    *(name for figure in FIGURES for name in (figure.name, figure.std_name)),
    "peak_share",
    "expected_error",
    *(name for figure in FORECAST for name in (figure.expected_name, figure.predictive_std_name)),
    P_GLASS,
)


def map_block(
    ensemble: TrainedEnsemble,
    compositions: Compositions,
    *,
    q: Axis,
    context: Columns | None = None,
    glass: GlassRule = AS_PUBLISHED,
) -> dict[str, PerSample]:
    """Return the peak figures of each alloy's mean spectrum, how far the ensemble's members agree, and how sure it is.

    The epistemic standard deviation is about the mean spectrum's figure: a mean of peaks at different places is wider
    than each of them. Spectra stay on the ensemble's device; only the figures of an alloy leave it.

    Args:
        ensemble: Trained.
        compositions: Atomic fractions `(n, e)`.
        q: The ensemble's axis in 1/Å.
        context: The process variables of each; by default those at which the ensemble is held.
        glass: What counts as a glass.

    Returns:
        The columns `MAP_FIGURES`: each figure (NaN where the mean spectrum has no trustworthy peak), the standard
        deviation of the members' figures about it (NaN where fewer than two have a peak), the share of members with
        a trustworthy peak, and the root mean squared error expected of the mean spectrum, in its unit (NaN where the
        ensemble can't say); of Δq and q1 what is expected of a new measurement, how far it may lie from the mean
        spectrum's figure, a standard deviation, and the probability of a glass (NaN where the mean spectrum has no
        peak, or the ensemble can't say).
    """
    blocks: list[Tensor] = []
    for mean, members, expected_error, unknown, inputs in ensemble.predict_blocks(compositions, context=context):
        peaks = measure_peaks(q, torch.cat([mean[:, None], members], dim=1).flatten(0, 1))
        columns: dict[str, Tensor] = {}
        for figure in FIGURES:
            of_mean, of_members = peaks.figures[figure.name].view(len(mean), -1).tensor_split([1], dim=1)
            columns[figure.name] = of_mean[:, 0]
            columns[figure.std_name] = std_about(of_mean[:, 0], of_members)
        foretold: list[Tensor] = []
        for figure in FORECAST:
            said = Said(inputs, columns[figure.name], columns[figure.std_name], unknown)
            foretold += _foretold(ensemble.forecasts.get(figure.name), said)
        found = peaks.found.view(len(mean), -1).double()
        blocks.append(torch.stack([*columns.values(), found[:, 1:].mean(1), expected_error, *foretold]))
    values = torch.cat(blocks, dim=1).cpu().numpy()
    foretold_of = values[-2 * len(FORECAST) :].reshape(len(FORECAST), 2, -1)
    table = dict(zip(MAP_FIGURES, values[: -2 * len(FORECAST)], strict=False))
    for figure, (expected, size) in zip(FORECAST, foretold_of, strict=True):
        table[figure.expected_name] = expected
        table[figure.predictive_std_name] = np.hypot(size, expected - table[figure.name])
    forecast = ensemble.forecasts.get(DELTA_Q.name)
    atoms = None if forecast is None else forecast.atoms
    expected, size = foretold_of[FORECAST.index(DELTA_Q)]
    table[P_GLASS] = glass.probability(expected, size, atoms)
    return table


def left_out_block(ensemble: TrainedEnsemble, *, glass: GlassRule = AS_PUBLISHED) -> dict[str, PerSample]:
    """Return what is said of each spectrum learned from by the parts of the ensemble that had not seen it.

    Returns:
        Of Δq and q1 the columns of `map_block` with the same names, and the probability of a glass; NaN of spectra that
        none left out. Empty where the ensemble can't say.
    """
    table: dict[str, PerSample] = {}
    for figure in FORECAST:
        if (forecast := ensemble.forecasts.get(figure.name)) is not None:
            said = forecast.left_out
            table[figure.name], table[figure.expected_name] = said.figure, said.expected
            table[figure.predictive_std_name] = np.hypot(said.std, said.expected - said.figure)
            if figure is DELTA_Q:
                table[P_GLASS] = glass.probability(said.expected, said.std, forecast.atoms)
    return table


def _foretold(forecast: FigureForecast | None, said: Said) -> tuple[Tensor, Tensor]:
    """Return what is expected of a new measurement's figure, and the size of its error; NaN where nobody can say."""
    if forecast is None:
        nothing = torch.full_like(said.figure, torch.nan)
        return nothing, nothing
    return forecast.at(said)


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
    def glass(self) -> GlassRule:
        """What is called a glass, as the metadata say it under `glass`."""
        return GlassRule.from_json(self.metadata.get("glass"))

    @property
    def shards(self) -> range:
        """Numbers of the shards; shard k holds the `SHARD` alloys from rank k `SHARD` on."""
        return range(-(-len(self.space) // SHARD))

    def shard_folder(self, folder: Path) -> Path:
        """Where a map's shards are until all are there; the same for every process that makes this map."""
        text = json.dumps([self.metadata, repr(self.space), __version__], sort_keys=True)
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
        """Return where a shard is, or will be."""
        return self.shard_folder(folder) / f"{number:06d}.parquet"

    def ranks(self, number: int) -> range:
        """Return the ranks of a shard's alloys."""
        return range(number * SHARD, min((number + 1) * SHARD, len(self.space)))

    def shard(self, ranks: range) -> bytes:
        """Map the alloys of some ranks; the content of a Parquet file with the columns of `write`.

        Args:
            ranks: Beginning with a multiple of the ensemble's block size.
        """
        rows = np.arange(ranks.start, ranks.stop)
        compositions = self.space.compositions(rows)
        block = map_block(self._forecasting, compositions, q=self.q, glass=self.glass)
        distance = 100 * KDTree(self.measured).query(compositions)[0]
        at_pct = (self.space.parts(rows) * self.space.step_at_pct).astype(np.uint8)
        error = block["expected_error"]
        known = np.where(np.isnan(error), np.nan, error < self.ensemble.known_below)
        columns = [*at_pct.T, *(figure.astype(np.float32) for figure in (*block.values(), distance))]
        arrays = [pa.array(np.ascontiguousarray(column)) for column in columns]
        table = pa.table([*arrays, pa.array(known, pa.uint8(), from_pandas=True)], schema=self._schema)
        content = BytesIO()
        pq.write_table(table, content, compression="zstd", write_page_checksum=True)
        return content.getvalue()

    def write(self, folder: Path, *, report: Report = ignore) -> Path:
        """Map every alloy into one Parquet file, called by the hash of its content; return its path.

        Columns: at.% of each element, then those of `map_block`, `distance` to the nearest measured alloy (at.%), and
        `known`: 1 where the expected error is small (`TrainedEnsemble.known_below`), 0 where the map is extrapolated,
        missing where the ensemble can't say.

        Args:
            folder: Made where it doesn't exist.
            report: Told after every shard how many alloys are done.
        """

        def gather(place: Path) -> None:
            with pq.ParquetWriter(place, self._schema, compression="zstd") as writer:
                for number in self.shards:
                    writer.write_table(self._read_shard(number, folder))
                    report("map", min((number + 1) * SHARD, len(self.space)), len(self.space))

        path = write_by_content(folder, "{}.parquet", gather)
        shutil.rmtree(self.shard_folder(folder), ignore_errors=True)
        return path

    def _read_shard(self, number: int, folder: Path) -> pa.Table:
        """One shard, made where it is missing or can't be read."""
        path = self.write_shard(number, folder)
        try:
            return pq.read_table(path, schema=self._schema, page_checksum_verification=True)
        except (OSError, pa.ArrowException):  # harmed by what no program can prevent, such as a failing disk
            path.unlink()
            return pq.read_table(self.write_shard(number, folder), schema=self._schema)

    @property
    def _schema(self) -> pa.Schema:
        whole, single = pa.uint8(), pa.float32()
        fields = [(element, whole) for element in self.space.elements]
        fields += [(name, single) for name in (*MAP_FIGURES, "distance")]
        return pa.schema([*fields, ("known", whole)]).with_metadata(
            {"glassmap": json.dumps(self.metadata, sort_keys=True)}
        )

    @cached_property
    def _forecasting(self) -> TrainedEnsemble:
        """The ensemble; one that is older than forecasts learns them first."""
        return self.ensemble.forecasting(self.q)


def block_of(space: CompositionSpace, composition: Composition, *, size: int) -> tuple[Compositions, int]:
    """The alloys that a map sends through the network together with this one, and its row among them.

    How many alloys go through at once decides the last bits of each spectrum; with its block, an alloy's is what the
    map saw to the bit, on the same device. An alloy off the map's grid comes alone.

    Args:
        space: Of the map.
        composition: Atomic fractions.
        size: Of the ensemble's blocks (`TrainedEnsemble.block_size`).
    """
    parts = np.rint(composition * 100 / space.step_at_pct).astype(np.int64)[None]
    off = np.abs(parts[0] * space.step_at_pct / 100 - composition).max()
    if off > SAME_ALLOY or not space.contains(parts)[0]:
        return composition[None], 0
    rank = int(space.rank(parts)[0])
    start = rank - rank % size
    return space.compositions(np.arange(start, min(start + size, len(space)))), rank - start

"""The Δq map: every alloy of a space through the ensemble, q1 and Δq of each, one Parquet file."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from agent.composition import CompositionSpace
from agent.ensemble import Ensemble
from agent.errors import ModelError
from agent.peak import measure_peaks
from agent.shapes import Axis, Compositions, PerSample

_BLOCK = 8192  # alloys measured and written at once


class MapBlock(NamedTuple):
    """q1 and Δq of some alloys, as an ensemble sees them; NaN where no member finds a trustworthy peak. In 1/Å."""

    q1: PerSample  # mean over members
    q1_spread: PerSample  # standard deviation between members; NaN where fewer than two find a peak
    delta_q: PerSample
    delta_q_spread: PerSample
    peak_share: PerSample  # share of members with a trustworthy peak


def map_block(ensemble: Ensemble, compositions: Compositions, *, q: Axis) -> MapBlock:
    """q1 and Δq of each alloy: each member's mean spectrum is measured, then members are summed up.

    Spectra stay on the ensemble's device; only the five figures of an alloy leave it.
    """
    found, q1, delta_q = [], [], []
    for draws in ensemble.draw_blocks(compositions):
        members = draws.mean(0)  # (b, m, q)
        peaks = measure_peaks(q, members.flatten(0, 1))
        shape = members.shape[:2]
        found.append(peaks.found.view(shape))
        q1.append(peaks.q1.view(shape))
        delta_q.append(peaks.delta_q.view(shape))
    mask = torch.cat(found)
    figures = (*_summarise(torch.cat(q1), mask), *_summarise(torch.cat(delta_q), mask), mask.double().mean(1))
    return MapBlock(*(figure.double().cpu().numpy() for figure in figures))


def _summarise(values: Float[Tensor, "n m"], found: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the members that found a peak; NaN where they are too few."""
    count = found.sum(1)
    known = torch.where(found, values.double(), 0.0)
    mean = known.sum(1) / count  # 0 / 0 is NaN, as it should
    squares = torch.where(found, (values.double() - mean[:, None]).square(), 0.0).sum(1)
    spread = torch.where(count > 1, (squares / (count - 1).clamp(min=1)).sqrt(), torch.nan)
    return mean, spread


def write_map(
    ensemble: Ensemble,
    space: CompositionSpace,
    folder: Path,
    *,
    q: Axis,
    metadata: dict[str, Any],
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Map every alloy of the space into one Parquet file, a block at a time; all of the file or none.

    The file is called by the hash of its content; the path is returned.

    Columns: at.% of each element, then `q1`, `q1_spread`, `delta_q`, `delta_q_spread` (1/Å) and `peak_share`.

    Args:
        ensemble: Trained.
        space: Its elements in the ensemble's order.
        folder: Made where it doesn't exist.
        q: The ensemble's axis in 1/Å, shape `(q,)`.
        metadata: Said in the file under the key `glassmap`; JSON types.
        report: Called after every block with the alloys done and their number.
    """
    fields = [(element, pa.uint8()) for element in space.elements]
    schema = pa.schema(fields + [(name, pa.float32()) for name in MapBlock._fields])
    schema = schema.with_metadata({"glassmap": json.dumps(metadata, sort_keys=True)})
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{os.getpid()}.parquet"
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for ranks in space.blocks(_BLOCK):
                block = map_block(ensemble, space.compositions(ranks), q=q)
                at_pct = (space.parts(ranks) * space.step_at_pct).astype(np.uint8)
                columns = [*at_pct.T, *(figure.astype(np.float32) for figure in block)]
                writer.write_table(pa.table([np.ascontiguousarray(c) for c in columns], schema=schema))
                if report is not None:
                    report(int(ranks[-1]) + 1, len(space))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
            path = folder / f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.parquet"
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_map(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The map's columns by name, and its metadata.

    Raises:
        ModelError: If the file is missing or no map.
    """
    try:
        table = pq.read_table(path)
        metadata = json.loads(table.schema.metadata[b"glassmap"])
    except (OSError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ModelError(f"{path} is no map ({error}). Go on with `glassmap run` to make the next.") from error
    return {name: table[name].to_numpy() for name in table.column_names}, metadata

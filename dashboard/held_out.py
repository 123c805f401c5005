"""What the alloys say that the model had not seen: generated against measured, in numbers and in words."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from glassmap.agent.maps.agreement import STDS_OF_INTERVAL, Agreement, agreement
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.peaks.figures import DELTA_Q, Q1, PeakFigure
from glassmap.agent.shapes import Compositions, PerSample
from glassmap.agent.store.results import groups_of
from glassmap.dashboard.plots.words import EPISTEMIC_INTERVAL, INTERVAL

PARITY = (DELTA_Q, Q1)
OLDER = "These spectra were kept by an older version, without the figures of what is generated; the next map has them."


class Pairs(NamedTuple):
    """One figure of the held-out alloys, or where none is held out of those left out, that have it both ways."""

    figure: PeakFigure
    kind: str  # `held-out` or `left-out`
    compositions: Compositions
    measured: PerSample
    generated: PerSample
    half_width: PerSample  # of the interval about the generated figure; NaN where it isn't known
    interval: str  # what that is
    agreement: Agreement
    only_measured: int  # alloys whose measured spectrum alone has a trustworthy peak
    only_generated: int

    def limits(self) -> tuple[float, float]:
        """Return the range of both axes of a picture: that of the figures and, within reason, of their intervals."""
        values = np.concatenate([self.measured, self.generated])
        low, high = float(values.min()), float(values.max())
        margin = max(0.06 * (high - low), 1e-3)
        return low - margin, high + margin

    def say(self) -> str:
        """Return what they say in a sentence, such as `Δq of 60 held-out alloys: slope 0.98 ± 0.01, …`."""
        found, unit = self.agreement, self.figure.unit
        digits = self.figure.digits + 1
        words = [
            f"{self.figure.label} of {found.n} {self.kind} alloys: slope {found.slope:.3f}{_sure(found.slope_error)}",
            f"R² {found.r2:.2f} about the mean, {found.r2_origin:.4f} about zero",
            f"mean error {found.mae:.{digits}f}{_sure(found.mae_error)} {unit}",
        ]
        if found.judged:
            words.append(
                f"the {self.interval} (± {STDS_OF_INTERVAL:.2f} std) holds {found.inside} of {found.judged} "
                f"({100 * found.inside / found.judged:.0f} %)"
            )
        alone = [
            f"{n} more {'has' if n == 1 else 'have'} a peak only as {what}"
            for n, what in ((self.only_measured, "measured"), (self.only_generated, "generated"))
            if n
        ]
        return "; ".join([*words, *alone]) + "."


def sure_to(figure: PeakFigure, columns: Mapping[str, Any] | pd.DataFrame) -> str:
    """Return the column that stands behind ±: how far a new measurement may lie, or, where that isn't known, the std.

    Args:
        figure: Of which.
        columns: Of a map, of some of its alloys or of one.
    """
    name = figure.predictive_std_name
    return name if name in columns and np.isfinite(columns[name]).any() else figure.std_name


def held_out_pairs(archive: SpectraArchive) -> list[Pairs]:
    """Return the figures of `PARITY` of the held-out alloys; none where the archive lacks them, or no two agree.

    Where none is held out, of those learned from, as parts of the model say them that had left them out.
    """
    measured = archive.measured
    kind, said, judged = "held-out", measured.generated, measured.hold_out
    if not judged.any():
        kind, said, judged = "left-out", measured.left_out, ~measured.hold_out
    groups = groups_of([wafer for wafer, mine in zip(measured.wafers, judged, strict=True) if mine])
    pairs = list[Pairs]()
    for figure in PARITY:
        std_name = sure_to(figure, said)
        if figure.name not in said or std_name not in said or figure.name not in measured.figures:
            continue
        theirs, ours, std = (v[judged] for v in (measured.figures[figure.name], said[figure.name], said[std_name]))
        there, made = np.isfinite(theirs), np.isfinite(ours)
        both = there & made
        if both.any():
            pairs.append(
                Pairs(
                    figure,
                    kind,
                    measured.compositions[judged][both],
                    theirs[both],
                    ours[both],
                    STDS_OF_INTERVAL * std[both],
                    EPISTEMIC_INTERVAL if std_name == figure.std_name else INTERVAL,
                    agreement(ours, theirs, std, groups),
                    int((there & ~made).sum()),
                    int((made & ~there).sum()),
                )
            )
    return pairs


def say_coverage(archive: SpectraArchive) -> str:
    """Return what the band holds of the held-out spectra, by points and by spectra; empty where nobody can say."""
    inside = archive.measured.inside[archive.measured.hold_out]
    inside = inside[np.isfinite(inside)]
    if not len(inside):
        return ""
    whole = int((inside >= CONFIDENCE).sum())
    return (
        f"The {100 * CONFIDENCE:g} % band holds {100 * inside.mean():.0f} % of the points of {len(inside)} held-out "
        f"{'spectrum' if len(inside) == 1 else 'spectra'}; {whole} ({100 * whole / len(inside):.0f} %) "
        f"{'has' if whole == 1 else 'have'} {100 * CONFIDENCE:g} % of their own points in it."
    )


def _sure(error: float) -> str:
    return "" if np.isnan(error) else f" ± {error:.1g}"

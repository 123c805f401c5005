"""The picture of an import: some of its scans, one above another; it loads little, so that it takes little time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from glassmap.agent.shapes import Axis, Spectrum
from glassmap.dashboard.plots.axis_titles import AXIS_TITLES

BLUE, GREY = "#0072b2", "#767676"


def draw_scans(
    axis_name: str, axis: Axis, scans: Sequence[tuple[str, Spectrum]], path: Path, *, taken: tuple[float, float]
) -> None:
    """Draw scans one above another, each to its own height, for a person to see whether they are what was meant.

    Args:
        axis_name: `q`, `two_theta` or `r`.
        axis: Of all, shape `(q,)`.
        scans: Caption and intensity, any unit, `(q,)`, from top to bottom.
        path: PNG or SVG to write.
        taken: The part of the axis that is learned from; what lies beside is shaded.
    """
    figure = Figure(figsize=(8, 0.55 * len(scans) + 1.4), layout="constrained")
    axes = figure.subplots()
    within = (axis >= taken[0]) & (axis <= taken[1])
    for k, (caption, scan) in enumerate(reversed(scans)):
        low, height = float(scan[within].min()), float(np.ptp(scan[within])) or 1.0
        axes.plot(axis, k + 1.2 * np.clip((scan - low) / height, -0.1, 1.25), color=BLUE, linewidth=0.9)
        axes.annotate(
            caption, (1.01, k + 0.1), xycoords=("axes fraction", "data"), fontsize=8, annotation_clip=False
        ).set_parse_math(False)
    for low, high in ((axis[0], taken[0]), (taken[1], axis[-1])):
        if high > low:
            axes.axvspan(low, high, color=GREY, alpha=0.2, linewidth=0)
            axes.set_title("grey: left out, see --range", loc="left", fontsize=8, color=GREY)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set(xlabel=AXIS_TITLES[axis_name], xlim=(axis[0], axis[-1]), yticks=[], ylabel="intensity, each to its height")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)

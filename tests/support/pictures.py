"""What can be said of a picture without looking at it."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from glassmap.agent.peaks.figures import FIGURES

MAPS = ["p-glass.png", *(f"{figure.name.replace('_', '-')}-map.png" for figure in FIGURES)]
"""The pictures of a ternary's maps, in their order."""
PICTURES = ["learning-curve.png", *MAPS, "examples.png", "parity.png", "reliability.png"]
"""All that are drawn of a ternary."""
HOW_SURE = ("p-glass.png", "reliability.png")
"""Those that it takes ten spectra to learn from for."""


def shows_something(path: Path, *, colours: int = 8) -> bool:
    """Whether a PNG is large enough to be read, mostly background, and drawn on over most of its width and height.

    Args:
        path: Of the picture.
        colours: That it has at least, besides shades of grey.
    """
    pixels = imread(path)[..., :3]
    height, width, _ = pixels.shape
    drawn = np.abs(pixels - pixels[0, 0]).max(axis=2) > 0.05
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    if min(height, width) < 300 or not len(rows) or not 0.005 < drawn.mean() < 0.9:
        return False
    is_spread = np.ptp(rows) > 0.6 * height and np.ptp(columns) > 0.6 * width
    coloured = pixels[np.ptp(pixels, axis=2) > 0.1]
    return bool(is_spread and len(np.unique((coloured * 15).astype(int), axis=0)) >= colours)

"""A scan as it was measured, and what every reader of one goes by."""

from typing import NamedTuple

from glassmap.agent.data.corrections import DOUBLETS, Doublet
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import AxisName, Scan, ScanAxis

MAX_BYTES = 64_000_000  # of a file; a map of 441 scans of 4,000 points has 30 MB
MAX_POINTS = 200_000  # of a scan
WAVELENGTHS = (0.05, 5.0)  # Å, of diffractometers and beamlines
SAME_LINE = 0.01  # relative, by which a wavelength may miss the mean of its anode's Kα
BETA = (0.88, 0.915)  # Kβ over Kα, of Ag to Cr
K_ALPHA_RATIO = 0.5  # intensity of Kα2 over that of Kα1, where a file doesn't say it


class RawScan(NamedTuple):
    """One scan as it was measured."""

    axis_name: AxisName
    axis: ScanAxis  # 2θ in degrees, q in 1/Å or r in Å; strictly increasing
    intensity: Scan  # counts, or counts per second where counting times differ; attenuation applied
    wavelength: float | None  # Å, as the file says, or who asked for it to be read; None where neither does
    sample: str | None  # id or name of the sample, as the file says
    notes: tuple[str, ...] = ()  # what was done to it
    x: float | None = None  # mm, of the stage, as the file says
    y: float | None = None
    name: str = ""  # among the scans of its file, each of which has its own: the sample's, or else its number from 1


def read_number(text: str) -> float:
    """Read a number as instruments write it; Python would also take `1_0` and the digits of other scripts.

    Raises:
        ValueError: If it is none.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is no number")
    return float(text)


def mean_k_alpha(alpha1: float, alpha2: float, ratio: float = K_ALPHA_RATIO) -> float:
    """Return the mean wavelength in Å of both Kα lines, by the ratio of their intensities (Kα2 over Kα1)."""
    return (alpha1 + ratio * alpha2) / (1 + ratio)


def doublet_of_anode(anode: str) -> Doublet | None:
    """Return the Kα lines of an anode in Å, called `Cu` or `copper`; None of one that isn't known."""
    name = anode.strip().lower()
    symbol = {"copper": "cu", "cobalt": "co", "molybdenum": "mo", "chromium": "cr", "iron": "fe", "silver": "ag"}
    name = symbol.get(name, name)
    return next((lines for element, lines in DOUBLETS.items() if element.lower() == name), None)


def line_of_anode(anode: str) -> float | None:
    """Return the mean Kα of an anode in Å, called `Cu` or `copper`; None of one that isn't known."""
    lines = doublet_of_anode(anode)
    return None if lines is None else mean_k_alpha(*lines)


def check_anode(anode: str, wavelength: float) -> None:
    """Refuse a wavelength in Å that is of no line of the anode that stands beside it, if that is known.

    Raises:
        DatasetError: If it is.
    """
    line = line_of_anode(anode)
    if line is not None and not (abs(wavelength / line - 1) < SAME_LINE or BETA[0] < wavelength / line < BETA[1]):
        raise DatasetError(
            f"It names the anode {anode.strip()}, whose Kα is {line:.4f} Å, and a wavelength of {wavelength:g} Å. "
            "Correct the one that is wrong."
        )

"""What is read off a first peak: `FIGURES`, the one list that all else goes through.

Maps, learning curves, the spectra archive, tables, pictures and the facts of simulations have a column for each figure
of the list. Another figure is another line of it: fitted peaks carry what there is to read. Needs no torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, SupportsFloat, TypeVar

MOST = 0.5  # of spectra or alloys; where fewer have a first peak, nothing can be said of them as a whole
Number = TypeVar("Number")  # a float, a float with its standard error, or a tensor with a value for each spectrum


@dataclass(frozen=True)
class PeakFit(Generic[Number]):
    """The fitted first peak of one spectrum, or of many: all that a figure can be read off.

    The profile is h (η L + (1 - η) G), a Lorentzian and a Gaussian of one half width at half maximum to the left of the
    maximum and one to the right.
    """

    center: Number  # 1/Å
    fwhm: Number  # 1/Å
    height: Number  # h, intensity above the background
    lorentzian_share: Number  # η, 0 to 1
    left_half_width: Number  # 1/Å
    right_half_width: Number  # 1/Å
    crystalline_share: Number  # of its area, that sharp lines hold, 0 to 1


@dataclass(frozen=True)
class PeakFigure:
    """A figure of the first peak: how it is called, shown and read off."""

    name: str
    """It names the column or key, wherever the figure is stored."""
    label: str
    """Its symbol, for people."""
    title: str
    """What it is, above a picture."""
    unit: str
    """Empty for a pure number."""
    digits: int
    """After the point, when it is shown."""
    read_off: Callable[[PeakFit[Any]], Any]
    """From the fit to the figure, by arithmetic alone, so that it serves one spectrum and many alike."""

    @property
    def std_name(self) -> str:
        """The name of its epistemic standard deviation in a map."""
        return f"{self.name}_std"

    @property
    def expected_name(self) -> str:
        """The name of what is expected of a new measurement in a map, where that is foretold."""
        return f"{self.name}_expected"

    @property
    def predictive_std_name(self) -> str:
        """The name of the standard deviation of a new measurement's error in a map."""
        return f"{self.name}_predictive_std"

    @property
    def head(self) -> str:
        """Symbol and unit, as the head of a column."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def titled_unit(self) -> str:
        """Title and unit, beside a scale."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def say(self, value: SupportsFloat | None, std: SupportsFloat | None = None) -> str:
        """Return the figure as people read it, such as `0.412 ± 0.013 Å⁻¹`; a dash where there is none."""
        return said(value, std, digits=self.digits, unit=self.unit)


def said(value: SupportsFloat | None, sure_to: SupportsFloat | None, *, digits: int, unit: str) -> str:
    """Return a number with what it is sure to and its unit, such as `0.412 ± 0.013 Å⁻¹`; a dash where there is none."""
    if value is None or math.isnan(float(value)):
        return "–"
    sure = "" if sure_to is None or math.isnan(float(sure_to)) else f" ± {float(sure_to):.{digits}f}"
    return f"{float(value):.{digits}f}{sure} {unit}".rstrip()


_LORENTZIAN = math.pi / 2  # areas of the profiles of height 1 and FWHM 1
_GAUSSIAN = math.sqrt(math.pi / math.log(2)) / 2

DELTA_Q = PeakFigure("delta_q", "Δq", "Δq, width of the first peak", "Å⁻¹", 3, lambda fit: fit.fwhm)
"""The full width at half maximum, by which glass formers are known and candidates ranked."""
Q1 = PeakFigure("q1", "q₁", "q₁, position of the first peak", "Å⁻¹", 3, lambda fit: fit.center)
AREA = PeakFigure(
    "area",
    "area",
    "area of the first peak",
    "intensity · Å⁻¹",
    1,
    lambda fit: fit.height * fit.fwhm * (_GAUSSIAN + fit.lorentzian_share * (_LORENTZIAN - _GAUSSIAN)),
)
"""Of the fitted profile, its tails beyond the window included."""
ASYMMETRY = PeakFigure(
    "asymmetry",
    "asymmetry",
    "asymmetry of the first peak, right half width over left",
    "",
    2,
    lambda fit: fit.right_half_width / fit.left_half_width,
)
"""1 for a symmetric peak, above 1 for one that falls off more slowly towards larger q."""

CRYSTALLINE_SHARE = PeakFigure(
    "crystalline_share",
    "crystalline share",
    "crystalline share of the first peak",
    "",
    2,
    lambda fit: fit.crystalline_share,
)
"""Of its area within 1.5 half widths, the share of sharp lines: 0 for a halo, 1 for the line of a crystal."""

FIGURES: tuple[PeakFigure, ...] = (DELTA_Q, Q1, AREA, ASYMMETRY, CRYSTALLINE_SHARE)

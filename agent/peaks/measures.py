"""By what generated spectra are judged: `MEASURES`, the one list that all else goes through.

Every measure is an error of one spectrum, and smaller is better. Learning curves, stop rule, comparisons and benchmarks
have a line for each. `batched.errors_by_spectrum` measures them. Needs no torch.
"""

from dataclasses import dataclass
from typing import SupportsFloat

from glassmap.agent.peaks.figures import FIGURES, said


@dataclass(frozen=True)
class Measure:
    """A measure of how far generated spectra are off: how it is called and shown."""

    name: str
    """It names the column or key, wherever its values are stored."""
    label: str
    """Short, as the head of a column."""
    title: str
    """What it is, above a picture."""
    unit: str
    """Empty for the squares of intensities, whose unit is that of the spectra: 100 is a spectrum's own maximum."""
    digits: int
    """After the point, when it is shown."""

    @property
    def head(self) -> str:
        """Label and unit, as the head of a column or beside an axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def say(self, value: SupportsFloat | None, standard_error: SupportsFloat | None = None) -> str:
        """Return the error as people read it, such as `0.0412 ± 0.0031 Å⁻¹`; a dash where there is none."""
        return said(value, standard_error, digits=self.digits, unit=self.unit)


MSE = Measure("mse", "MSE", "mean squared error", "", 1)
"""The paper's: intensities 0-100, mean over the points."""
SCALE_FREE_MSE = Measure(
    "scale_free_mse", "scale-free MSE", "mean squared error after each spectrum's best factor", "", 1
)
"""What remains of the MSE once each generated spectrum was multiplied by the positive number that suits it best. A
spectrum's scale is read off one point, its maximum, and says little of the alloy."""
FIRST_PEAK_MSE = Measure("first_peak_mse", "first-peak MSE", "mean squared error within the first peak", "", 1)
"""The MSE over the points of the window in which the first peak of the measured spectrum is fitted."""

MEASURES: tuple[Measure, ...] = (
    MSE,
    SCALE_FREE_MSE,
    FIRST_PEAK_MSE,
    *(
        Measure(
            figure.name, f"error of {figure.label}", f"absolute error of {figure.label}", figure.unit, figure.digits + 1
        )
        for figure in FIGURES
    ),
)

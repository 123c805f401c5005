"""The first peak of one spectrum by lmfit: the reference, with standard errors, and a reason where there is none."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from lmfit import Model  # pyright: ignore[reportMissingTypeStubs]
from lmfit.lineshapes import pvoigt  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from glassmap.agent.peaks.figures import FIGURES, PeakFit
from glassmap.agent.peaks.find import (
    FOUND,
    HALF_WINDOW,
    NOT_CONVERGED,
    REASONS,
    TOO_NARROW,
    bin_windows,
    check_spectra,
    find_half_widths,
    find_windows,
    judge_fits,
    ruler_of,
    smooth_spectra,
)
from glassmap.agent.shapes import Axis, Scan, ScanAxis, Spectrum


class Peak(NamedTuple):
    """The first peak of one spectrum; its figures are NaN where there is a reason not to trust them."""

    figures: dict[str, float]  # by their names in `FIGURES`
    standard_errors: dict[str, float]  # by the same names; NaN for what isn't read off the profile
    r_squared: float  # share of the variance within the window that the profile explains
    reason: str  # why there is no trustworthy peak; empty where there is one

    def say(self) -> str:
        """Return the figures as people read them, or the reason why there are none."""
        said = (f"{figure.label} = {figure.say(self.figures[figure.name])}" for figure in FIGURES)
        return self.reason or ", ".join(said)


def fit_peak(q: Axis, intensity: Spectrum) -> Peak:
    """Fit the first peak of one spectrum with a pseudo-Voigt on the SNIP background.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`. For 2θ, convert first: `q_from_two_theta`.
        intensity: Any unit, background included. Shape `(q,)`.

    Returns:
        The figures of `FIGURES` and their standard errors, or NaN and the reason. The errors are the fit's own: they
        know nothing of the background, which takes the outermost tails of a peak (of a lone Gaussian 3 % of Δq, of a
        Lorentzian 13 %).

    Raises:
        SpectrumError: If a value isn't finite, or the axis decreases, repeats itself or spans less than 1 1/Å
            below 4 1/Å.

    Source: peak profile as in F. Ren et al., Sci. Adv. 4, eaaq1566 (2018).
    """
    return _fit(q, intensity)[0]


def fitted_profile(q: Axis, intensity: Spectrum) -> tuple[ScanAxis, Scan]:
    """The curve that `fit_peak` found, on its background: q (1/Å) and intensity within its window; empty without one.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    return _fit(q, intensity)[1:]


def _fit(q: Axis, intensity: Spectrum) -> tuple[Peak, ScanAxis, Scan]:
    spectra = torch.as_tensor(np.array(intensity, dtype=np.float32))[None]
    check_spectra(q, spectra)
    ruler = ruler_of(q, spectra.device)
    smoothed = smooth_spectra(ruler, spectra)
    windows = find_windows(ruler, spectra, smoothed)
    if (reason_code := int(windows.reason_code)) != FOUND:
        return _refuse(reason_code)
    low, high = (float(end) for end in windows.ends[0])
    center, height = float(ruler.grid[windows.peak]), float(windows.height)
    fwhm = (high - low) / 2 / HALF_WINDOW
    inside = (q >= low) & (q <= high)
    if inside.sum() <= 4:  # as many as parameters
        return _refuse(TOO_NARROW)
    background = smoothed.background_at(torch.as_tensor(q[inside]))[0].numpy()
    net = (intensity[inside] - background) / height

    model = cast(Any, Model)(pvoigt)  # PseudoVoigtModel without its derived parameters, which triple the time
    parameters = model.make_params(
        amplitude={"value": 1.2 * fwhm, "min": 0},
        center={"value": center, "min": low, "max": high},
        sigma={"value": fwhm / 2, "min": fwhm / 20, "max": 2 * (high - low)},
        fraction={"value": 0.5, "min": 0, "max": 1},
    )
    result = model.fit(net, parameters, x=q[inside])
    bins = bin_windows(ruler, smoothed, windows)
    y = bins.window[0].double().numpy()
    model = height * result.eval(x=low + (high - low) * ruler.centers.double().numpy())
    unexplained = np.square(y - model).sum() / np.square(y - y.mean()).sum()
    left, right = find_half_widths(ruler, windows, bins)
    half_widths = float(left), float(right)
    fit = _peak_fit(result.best_values, height, half_widths)
    reason_code = NOT_CONVERGED
    if result.success:
        place, width = (fit.center - low) / (high - low), fit.fwhm / (high - low)
        judged = torch.tensor([[place], [width], [fit.fwhm], [unexplained]], dtype=torch.float64)
        reason_code = int(judge_fits(ruler, windows, *judged.unbind()))
    if reason_code != FOUND:
        return _refuse(reason_code, float(1 - unexplained))
    figures = {figure.name: float(figure.read_off(fit)) for figure in FIGURES}
    errors = dict.fromkeys(figures, math.nan)
    if result.covar is not None:
        uncertain = _peak_fit(result.params.create_uvars(covar=result.covar), height, half_widths)
        errors = {figure.name: float(getattr(figure.read_off(uncertain), "std_dev", math.nan)) for figure in FIGURES}
    peak = Peak(figures, errors, float(1 - unexplained), "")
    return peak, q[inside], background + height * np.asarray(result.best_fit)


def _peak_fit(values: Mapping[str, Any], height: float, half_widths: tuple[float, float]) -> PeakFit[Any]:
    """Return what lmfit found as a figure wants it; `values` with or without their standard errors.

    lmfit's sigma is half the FWHM and its fraction a share of the area, where ours is one of the height.
    """
    per_area = values["amplitude"] / values["sigma"]
    lorentzian = per_area * values["fraction"] / math.pi
    gaussian = per_area * (1 - values["fraction"]) * math.sqrt(math.log(2) / math.pi)
    return PeakFit(
        center=values["center"],
        fwhm=2 * values["sigma"],
        height=height * (lorentzian + gaussian),
        lorentzian_share=lorentzian / (lorentzian + gaussian),
        left_half_width=half_widths[0],
        right_half_width=half_widths[1],
    )


def _refuse(reason_code: int, r_squared: float = math.nan) -> tuple[Peak, ScanAxis, Scan]:
    nothing = {figure.name: math.nan for figure in FIGURES}
    return Peak(nothing, nothing.copy(), r_squared, REASONS[reason_code]), np.empty(0), np.empty(0)

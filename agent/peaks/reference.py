"""The first peak of one spectrum by lmfit: the reference, with standard errors, and a reason where there is none."""

import math
from typing import NamedTuple

import numpy as np
import torch
from lmfit import Model
from lmfit.lineshapes import pvoigt

from glassmap.agent.peaks.find import (
    FOUND,
    NOT_CONVERGED,
    REASONS,
    TOO_NARROW,
    bin_windows,
    check_spectra,
    find_windows,
    judge_fits,
    share_of_variance,
    smooth_spectra,
)
from glassmap.agent.shapes import Axis, Scan, ScanAxis, Spectrum


class Peak(NamedTuple):
    """The first peak of one spectrum; the numbers are NaN where there is a reason not to trust them."""

    q1: float  # 1/Å
    delta_q: float  # FWHM, 1/Å
    q1_stderr: float  # 1/Å
    delta_q_stderr: float  # 1/Å
    r_squared: float  # share of the variance within the window that the profile explains
    reason: str  # why there is no trustworthy peak; empty where there is one


def fit_peak(q: Axis, intensity: Spectrum) -> Peak:
    """Fit the first peak of one spectrum with a pseudo-Voigt on the SNIP background.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`. For 2θ, convert first: `q_from_two_theta`.
        intensity: Any unit, background included. Shape `(q,)`.

    Returns:
        q1, Δq and their standard errors in 1/Å, or NaN and the reason. The errors are the fit's own: they know nothing
        of the background, which takes the outermost tails of a peak (of a lone Gaussian 3 % of Δq, of a Lorentzian
        13 %).

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
    spectra = torch.as_tensor(np.array(intensity, dtype=np.float64))[None]
    check_spectra(q, spectra)
    smoothed = smooth_spectra(q, spectra)
    windows = find_windows(q, spectra, smoothed)
    if (verdict := int(windows.verdict)) != FOUND:
        return _refuse(verdict)
    low, high, center, fwhm, height = (float(value) for value in windows[:5])
    inside = (q >= low) & (q <= high)
    if inside.sum() <= 4:  # as many as parameters
        return _refuse(TOO_NARROW)
    background = np.interp(q[inside], smoothed.grid.numpy(), smoothed.background[0].numpy())
    net = (intensity[inside] - background) / height

    model = Model(pvoigt)  # PseudoVoigtModel without its derived parameters, which triple the time
    parameters = model.make_params(
        amplitude={"value": 1.2 * fwhm, "min": 0},
        center={"value": center, "min": low, "max": high},
        sigma={"value": fwhm / 2, "min": fwhm / 20, "max": 2 * (high - low)},
        fraction={"value": 0.5, "min": 0, "max": 1},
    )
    result = model.fit(net, parameters, x=q[inside])
    q1, half_width = result.params["center"], result.params["sigma"]  # lmfit's sigma is half the FWHM

    x, y = bin_windows(q, smoothed, windows)
    r_squared = share_of_variance(y / height, torch.as_tensor(result.eval(x=x[0].numpy()))[None])
    fitted = torch.tensor([[q1.value], [2 * half_width.value]], dtype=torch.float64)
    verdict = int(judge_fits(q, windows, fitted[0], fitted[1], r_squared)) if result.success else NOT_CONVERGED
    if verdict != FOUND:
        return _refuse(verdict, float(r_squared))
    q1_stderr, half_width_stderr = (math.nan if p.stderr is None else p.stderr for p in (q1, half_width))
    peak = Peak(q1.value, 2 * half_width.value, q1_stderr, 2 * half_width_stderr, float(r_squared), "")
    return peak, q[inside], background + height * np.asarray(result.best_fit)


def _refuse(verdict: int, r_squared: float = math.nan) -> tuple[Peak, ScanAxis, Scan]:
    return Peak(math.nan, math.nan, math.nan, math.nan, r_squared, REASONS[verdict]), np.empty(0), np.empty(0)

"""The first peak of one spectrum by lmfit: the reference, with standard errors, and a reason where there is none."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from lmfit import Model  # pyright: ignore[reportMissingTypeStubs]

from glassmap.agent.peaks.figures import FIGURES, PeakFit
from glassmap.agent.peaks.find import FOUND, REASONS, STEP, check_spectra, find_windows, ruler_of, smooth_spectra
from glassmap.agent.peaks.robust_fit import curve_at, fit_windows, judge_fits, read_fits
from glassmap.agent.shapes import Axis, Scan, ScanAxis, Spectrum

_NAMES = "height", "center", "left", "right", "share"
BACKGROUND_DOUBT = 0.5  # of what the new background changed Δq by, a standard error of it


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
    """Fit the first peak of one spectrum with a split pseudo-Voigt, so that neither lines nor its neighbours count.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`. For 2θ, convert first: `q_from_two_theta`.
        intensity: Any unit, background included. Shape `(q,)`.

    Returns:
        The figures of `FIGURES` and their standard errors, or NaN and the reason. An error holds what noise leaves
        open, half of what the new background changed the figure by, and how far the fits of the two windows lie apart
        where both count (`robust_fit`).

    Raises:
        SpectrumError: If a value isn't finite, or the axis decreases, repeats itself or spans less than 1 1/Å
            below 4 1/Å.

    Source: peak profile as in F. Ren et al., Sci. Adv. 4, eaaq1566 (2018), split.
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
    fitted = fit_windows(ruler, smoothed, windows)
    x = ruler.centers.double().numpy()
    y, weights, begun = (part[0].double().numpy() for part in (fitted.y, fitted.weights, fitted.parameters))
    found = [_least_squares(x, y[k], weights[k], begun[k], is_tied=k == 0) for k in (0, 1)]
    best = [[float(one.best_values[name]) for name in _NAMES] for one in found]
    read = read_fits(ruler, smoothed, windows, fitted._replace(parameters=torch.tensor([best])))
    if (reason_code := int(judge_fits(ruler, windows, read))) != FOUND:
        return _refuse(reason_code, float(1 - read.unexplained))
    figures = {figure.name: float(figure.read_off(read.fit)) for figure in FIGURES}
    ends = read.ends[0].numpy()
    inside = (q >= ends[0]) & (q <= ends[1])
    curve = curve_at(ruler, read, torch.as_tensor(q[inside]))[0].double().numpy()

    errors = dict.fromkeys(figures, math.nan)
    trust, (core, wide) = float(read.trust), windows.ends[0].diff(dim=1)[:, 0].double().numpy() * STEP
    if all(one.covar is not None for one in found):
        height = float(windows.height)
        fits = [
            _peak_fit(one.params.create_uvars(covar=one.covar), n, height)
            for one, n in zip(found, (core, wide), strict=True)
        ]
        on_snip: list[float] = fitted.first[0].double().numpy().tolist()
        before = _peak_fit(dict(zip(_NAMES, on_snip, strict=True)), wide, height)
        for figure in FIGURES:
            of_core, of_wide = (figure.read_off(fit) for fit in fits)
            errors[figure.name] = _standard_error(of_core, of_wide, figure.read_off(before), trust)
    return Peak(figures, errors, float(1 - read.unexplained), ""), q[inside], curve


def _least_squares(
    x: Float[np.ndarray, " p"],
    y: Float[np.ndarray, " p"],
    weights: Float[np.ndarray, " p"],
    begun: Float[np.ndarray, " 5"],
    *,
    is_tied: bool,
) -> Any:
    """Return lmfit's result for the split profile; tied, its two half widths are the same."""
    model = cast(Any, Model)(_profile)
    height, center, left, right, share = begun.tolist()
    parameters = model.make_params(
        height={"value": height, "min": 0},
        center={"value": center, "min": center - 0.5, "max": center + 0.5},
        left={"value": left, "min": left / 20, "max": 2},
        right={"expr": "left"} if is_tied else {"value": right, "min": right / 20, "max": 2},
        share={"value": min(max(share, 1e-3), 1 - 1e-3), "min": 0, "max": 1},
    )
    return model.fit(y, parameters, x=x, weights=np.sqrt(weights), fit_kws={"xtol": 1e-6, "ftol": 1e-6})


def _peak_fit(values: Mapping[str, Any], length: float, height: float) -> PeakFit[Any]:
    """Return a fit as a figure wants it, but for where its window begins.

    Args:
        values: By the names of `_NAMES`, in a window from 0 to 1, with or without standard errors.
        length: Of the window, 1/Å.
        height: Of the peak.
    """
    left, right = values["left"] * length, values["right"] * length
    return PeakFit(
        values["center"] * length, left + right, values["height"] * height, values["share"], left, right, math.nan
    )


def _standard_error(of_core: Any, of_wide: Any, before: float, trust: float) -> float:
    """Return the standard error of a figure: of noise, of the choice between two fits, and of the background.

    Args:
        of_core: The figure with what noise leaves open.
        of_wide: The same.
        before: The figure of the wide one before its background was made anew.
        trust: How much the wide one counts.
    """
    noise = [float(getattr(figure, "std_dev", math.nan)) for figure in (of_core, of_wide)]
    core, wide = (float(getattr(figure, "nominal_value", math.nan)) for figure in (of_core, of_wide))
    chosen = math.sqrt(trust * (1 - trust)) * (core - wide)
    return math.hypot((1 - trust) * noise[0], trust * noise[1], chosen, BACKGROUND_DOUBT * trust * (wide - before))


def _profile(
    x: Float[np.ndarray, " p"], height: float, center: float, left: float, right: float, share: float
) -> Float[np.ndarray, " p"]:
    w = np.square((x - center) / np.where(x < center, left, right))
    return height * (share / (1 + w) + (1 - share) * np.exp2(-w))


def _refuse(reason_code: int, r_squared: float = math.nan) -> tuple[Peak, ScanAxis, Scan]:
    nothing = {figure.name: math.nan for figure in FIGURES}
    return Peak(nothing, nothing.copy(), r_squared, REASONS[reason_code]), np.empty(0), np.empty(0)

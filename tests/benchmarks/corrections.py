"""What a diffractometer does to q1 and Δq of a first peak, and what is left of it once it is corrected.

Peaks are made up, of known width, on a flat background with noise, and measured with Cu Kα in steps of 0.02°; what the
factors do is measured on simulated glasses, whose intensity is known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from glassmap.agent.data.corrections import DOUBLETS, FWHM, Corrections
from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.spectrum import q_from_two_theta
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.shapes import Axis, PerPoint, PerSample, Spectra

CU = DOUBLETS["Cu"]
TWO_THETA = np.arange(15, 80, 0.02)
FINE = np.arange(14, 82, 0.002)
WIDTHS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.5)  # 1/Å
INSTRUMENTS = (0.08, 0.15, 0.3)  # degrees
SHAPES = {"Gaussian": 0.0, "half": 0.5, "Lorentzian": 1.0}
CENTER = 2.8  # 1/Å
NOISE = 0.02  # of the height
MONOCHROMATOR = 26.6  # degrees of 2θ: graphite, Cu Kα


def run(simulated: Path, *, n: int = 50) -> list[dict[str, Any]]:
    """One record a correction and case: relative error of Δq and error of q1 in 1/Å before and after, medians of n.

    Args:
        simulated: Data set of intensities without any factor, over q.
        n: Noises.
    """
    q = q_from_two_theta(TWO_THETA, wavelength=CU.alpha1)
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    for effect, case, true, measured, corrections in _cases():
        noisy = np.interp(TWO_THETA, FINE, measured) + rng.normal(0, NOISE, (n, len(TWO_THETA)))
        clean = np.interp(TWO_THETA, FINE, true) + rng.normal(0, NOISE, (n, len(TWO_THETA)))
        own, before, after = (_peaks(q, spectra) for spectra in (clean, noisy, corrections.apply(q, noisy)))
        records.append({"effect": effect, **case, **_errors(own, before, "before"), **_errors(own, after, "after")})
    return [*records, *_factors(simulated)]


def _cases() -> Iterator[tuple[str, dict[str, Any], PerPoint, PerPoint, Corrections]]:
    """Yield an effect, its size, a peak without it and with it, in steps of 0.002°, and the correction."""
    q = q_from_two_theta(FINE, wavelength=CU.alpha1)
    for name, lorentzian in SHAPES.items():
        for width in WIDTHS:
            true = _peak(q, width, lorentzian)
            doublet = (true + 0.5 * _peak(q * CU.alpha1 / CU.alpha2, width, lorentzian)) / 1.5
            case = {"profile": name, "width": width}
            yield "Kα2", case | {"size": 0.5}, true, doublet, Corrections("Cu", k_alpha2=0.5)
            for instrument in INSTRUMENTS:
                blurred: PerPoint = cast(Any, gaussian_filter1d)(true, instrument / FWHM / 0.002)
                corrections = Corrections("Cu", instrument_width=instrument)
                yield "instrument", case | {"size": instrument}, true, blurred, corrections


def _factors(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what each factor does to the first peaks of simulated glasses within the reach of Cu Kα."""
    spectra = read_dataset(path)
    inside = spectra.axis < 0.95 * 4 * np.pi / CU.alpha1
    q, intensity = spectra.axis[inside], spectra.intensities[:, inside].astype(np.float64)
    own = _peaks(q, intensity)
    kept = {
        "polarization": Corrections("Cu", polarization="kept", is_simulated=True),
        "polarization, monochromator": Corrections(
            "Cu", polarization="kept", monochromator=MONOCHROMATOR, is_simulated=True
        ),
        "polarization and Lorentz": Corrections("Cu", polarization="kept", lorentz="kept", is_simulated=True),
    }
    for name, put_on in kept.items():
        removed = replace(put_on, polarization="removed", lorentz=put_on.lorentz and "removed", is_simulated=False)
        measured = put_on.apply(q, intensity)
        before, after = _peaks(q, measured), _peaks(q, removed.apply(q, measured))
        case = {"effect": name, "profile": path.stem, "width": float(np.nanmedian(own[1])), "size": 1.0}
        yield {**case, **_errors(own, before, "before"), **_errors(own, after, "after")}


def _peak(q: Axis, width: float, lorentzian: float) -> PerPoint:
    w = (2 * (q - CENTER) / width) ** 2
    return 0.2 + lorentzian / (1 + w) + (1 - lorentzian) * np.exp2(-w)


def _peaks(q: Axis, spectra: Spectra) -> tuple[PerSample, PerSample]:
    found = measure_peaks(q, torch.as_tensor(spectra)).figures
    return found["q1"].numpy(), found["delta_q"].numpy()


def _errors(own: Sequence[PerSample], read: Sequence[PerSample], when: str) -> dict[str, float]:
    """Return medians of the error of q1, 1/Å, and of Δq, a share, against peaks without the effect; and its scatter."""
    (q1, delta_q), (read_q1, read_delta_q) = own, read
    share = read_delta_q / delta_q - 1
    return {
        f"q1_{when}": float(np.nanmedian(read_q1 - q1)),
        f"delta_q_{when}": float(np.nanmedian(share)),
        f"scatter_{when}": float(np.nanstd(share)),
    }

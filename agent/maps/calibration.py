"""A glass rule learnt from labels: at which Δq alloys that people know are a glass, and how sharply.

Logistic: the chance of a glass is a logistic function of Δq, by maximum likelihood (Platt 1999). What Δq of an alloy
may be, where it wasn't measured, is part of the likelihood; that few labels leave the function uncertain makes the
rule less sharp (MacKay 1992). Isotonic: the nearest function of any shape that never falls. SciPy has no types.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from typing import Literal

import numpy as np
from jaxtyping import Float

from glassmap.agent.maps.glass import NORMAL_ATOMS, GlassRule
from glassmap.agent.shapes import Mask, PerAlloy, PerSample

Calibration = Literal["logistic", "isotonic"]
FEWEST, FEWEST_OF_A_KIND = 10, 3  # labels that a rule is learnt from
BY_CHANCE = 0.025  # probability up to which labels without a meaning make a rule
RESAMPLES = 200  # of labels, for how uncertain an isotonic threshold is
_ATOMS = NORMAL_ATOMS[9::10]  # of the Δq of what wasn't measured
_POINTS = 121  # of the curve
_REACH = 7.0  # logits to either side of the threshold that the curve goes


class NoRule(Exception):
    """Labels from which no rule can be learnt; says why, in words that begin small."""


def learn_rule(delta_q: PerSample, std: PerSample, is_glass: Mask, how: Calibration) -> GlassRule:
    """Return the rule that labels make.

    Args:
        delta_q: Of the labelled alloys, 1/Å.
        std: How far the Δq of a measurement may lie from it, 1/Å; 0 of what was measured.
        is_glass: The labels.
        how: Logistic, or isotonic, which takes Δq as it is.

    Raises:
        NoRule: If they are too few, all of one kind, or wider peaks aren't more often a glass than by chance (Mann and
            Whitney's test), or the threshold would lie beyond all labels.
    """
    from scipy.stats import mannwhitneyu

    n, n_glass = len(is_glass), int(is_glass.sum())
    if n < FEWEST or min(n_glass, n - n_glass) < FEWEST_OF_A_KIND:
        raise NoRule(
            f"as that takes {FEWEST} of alloys whose Δq is known, {FEWEST_OF_A_KIND} of either kind, and there are "
            f"{n_glass} glasses and {n - n_glass} others"
        )
    # Targets of Platt (1999): a label is right but for one in so many, so that labels without overlap end, too
    targets = np.where(is_glass, (n_glass + 1) / (n_glass + 2), 1 / (n - n_glass + 2))
    if mannwhitneyu(delta_q[is_glass], delta_q[~is_glass], alternative="greater").pvalue > BY_CHANCE:
        raise NoRule("as among the labels wider peaks aren't more often a glass than chance would have it")
    rule = _logistic(delta_q, std, targets) if how == "logistic" else _isotonic(delta_q, targets)
    if not delta_q.min() <= rule.threshold <= delta_q.max():
        raise NoRule(
            f"as the threshold that they make, {rule.threshold:.3g} Å⁻¹, lies beyond the Δq of all of them, "
            f"{delta_q.min():.3g} to {delta_q.max():.3g}"
        )
    return rule


def _logistic(delta_q: PerSample, std: PerSample, targets: PerSample) -> GlassRule:
    from scipy.optimize import minimize
    from scipy.special import expit

    centre, scale = float(delta_q.mean()), float(delta_q.std()) or 1.0
    places = (delta_q[:, None] + std[:, None] * _ATOMS - centre) / scale

    def chances(parameters: Float[np.ndarray, " 2"]) -> PerSample:
        offset, slope = parameters
        return np.clip(expit(offset + slope * places).mean(1), 1e-9, 1 - 1e-9)

    def loss(parameters: Float[np.ndarray, " 2"]) -> float:
        chance = chances(parameters)
        return -float(targets @ np.log(chance) + (1 - targets) @ np.log(1 - chance))

    offset, slope = minimize(loss, np.array([0.0, 1.0]), method="Nelder-Mead").x
    if slope <= 0:
        raise NoRule("as among the labels wider peaks aren't more often a glass")
    each = expit(offset + slope * places)
    slopes = np.stack([(each * (1 - each)).mean(1), (each * (1 - each) * places).mean(1)])
    chance = chances(np.array([offset, slope]))
    covariance = np.linalg.pinv(slopes / (chance * (1 - chance)) @ slopes.T)  # the inverse of Fisher's information
    threshold = -offset / slope
    towards = np.array([1.0, threshold])
    threshold_std = float(np.sqrt(towards @ covariance @ towards)) / slope
    reach = np.linspace(-_REACH, _REACH, _POINTS) / slope + threshold
    basis = np.stack([np.ones_like(reach), reach])
    variance = np.einsum("ik,ij,jk->k", basis, covariance, basis)
    curve = expit((offset + slope * reach) / np.sqrt(1 + np.pi * variance / 8))
    return _rule(centre + scale * threshold, scale * threshold_std, centre + scale * reach, curve)


def _isotonic(delta_q: PerSample, targets: PerSample) -> GlassRule:
    widths, chance = _never_falling(delta_q, targets)
    threshold = _crossing(widths, chance)
    if not np.isfinite(threshold):
        raise NoRule("as among the labels wider peaks aren't more often a glass")
    rng = np.random.default_rng(0)
    resampled = (rng.integers(len(delta_q), size=len(delta_q)) for _ in range(RESAMPLES))
    thresholds = np.array([_crossing(*_never_falling(delta_q[rows], targets[rows])) for rows in resampled])
    return _rule(threshold, float(np.nanstd(thresholds)), widths, chance)


def _never_falling(delta_q: PerSample, targets: PerSample) -> tuple[PerAlloy, PerAlloy]:
    """Return the distinct Δq, rising, and the nearest chances that never fall."""
    from scipy.optimize import isotonic_regression

    widths, which = np.unique(delta_q, return_inverse=True)
    counts = np.bincount(which)
    means = np.bincount(which, weights=targets) / counts
    return widths, np.asarray(isotonic_regression(means, weights=counts).x, dtype=np.float64)


def _crossing(widths: PerAlloy, chance: PerAlloy) -> float:
    """Return where the chance passes one half; NaN where it doesn't."""
    above = int(np.searchsorted(chance, 0.5))
    if above in (0, len(chance)):
        return float("nan")
    return float(np.interp(0.5, chance[above - 1 : above + 1], widths[above - 1 : above + 1]))


def _rule(threshold: float, threshold_std: float, widths: PerAlloy, chance: PerAlloy) -> GlassRule:
    rising = np.maximum.accumulate(chance)
    return GlassRule(threshold, threshold_std, (tuple(widths.tolist()), tuple(rising.tolist())))

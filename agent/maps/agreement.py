"""How well generated and measured figures of alloys agree: the line through zero, and what the intervals hold."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.planning.convergence import estimate, standard_error
from glassmap.agent.shapes import Groups, PerSample

STDS_OF_INTERVAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)  # to either side


class Agreement(NamedTuple):
    """What the alloys say that have a figure both ways; NaN where it takes more of them."""

    n: int
    slope: float  # a of the fit ours = a · theirs, as Xie et al. give it
    slope_error: float  # its standard error
    r2: float  # of that fit, about the mean of ours; below 0 where the mean does better
    r2_origin: float  # of the same fit about 0, as Xie et al. give it; near 1 for whatever varies little
    mae: float  # mean absolute difference, in the figure's unit
    mae_error: float  # its standard error
    inside: int  # of theirs within ours ± `STDS_OF_INTERVAL` std
    judged: int  # of those that have a std, so that it can be said


def agreement(
    ours: PerSample, theirs: PerSample, std: PerSample | None = None, groups: Groups | None = None
) -> Agreement:
    """Return how well two readings of a figure agree over the samples that have both.

    Standard errors are as of `glassmap.agent.planning.convergence`: samples of one group err alike.

    Args:
        ours: Such as the figure of the generated spectrum; NaN where there is none.
        theirs: Such as that of the measured one; NaN where there is none.
        std: Of ours; NaN where it isn't known.
        groups: The wafer of each, or a number of its own; without them every sample stands for itself.
    """
    both = np.isfinite(ours) & np.isfinite(theirs)
    std = np.full(len(ours), np.nan) if std is None else std
    groups = np.arange(len(ours)) if groups is None else groups
    ours, theirs, std, groups, n = ours[both], theirs[both], std[both], groups[both], int(both.sum())
    if not n:
        nan = math.nan
        return Agreement(0, nan, nan, nan, nan, nan, nan, 0, 0)
    squares, errors = float(theirs @ theirs), np.abs(ours - theirs)
    slope = float(ours @ theirs) / squares if squares else math.nan
    residual, about_mean, about_zero = (
        float(np.square(values).sum()) for values in (ours - slope * theirs, ours - ours.mean(), ours)
    )
    told, mae = np.isfinite(std), estimate(errors, groups)
    return Agreement(
        n,
        slope,
        standard_error(theirs * (ours - slope * theirs) / squares, groups) if squares else math.nan,
        1 - residual / about_mean if about_mean else math.nan,
        1 - residual / about_zero if about_zero else math.nan,
        *mae,
        int((errors[told] <= STDS_OF_INTERVAL * std[told]).sum()),
        int(told.sum()),
    )

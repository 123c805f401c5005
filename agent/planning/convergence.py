"""The learning curve, what the next batches are expected to bring, and the rule that ends a campaign.

All rounds' models are judged by the same spectra, so that what one batch brought is a difference of pairs, spectrum by
spectrum. Two kinds of spectra tell: those held out, and those learned from, each as models say it that left it out.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean, linear_regression
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.shapes import Groups, PerSample

TREND_ROUNDS = 5  # that a forecast looks back on

On = Literal["mse", "delta_q", "glass"]
State = Literal["continue", "converged", "exhausted"]
Trend = Literal["improving", "unknown", "converged", "rising"]
TRENDS: dict[Trend, str] = {
    "improving": "still improving",
    "unknown": "not yet known",
    "converged": "converged",
    "rising": "rising",
}
"""A trend in words."""


class Estimate(NamedTuple):
    """A mean over spectra, and how sure it is."""

    value: float
    standard_error: float  # NaN where it can't be told

    def say(self) -> str:
        """Return it as people read it, such as `9.31 ± 0.82`: two digits of the error; a dash where there is none."""
        if math.isnan(self.value):
            return "–"
        if not self.standard_error > 0:  # it can't be told, or all err alike
            return f"{self.value:.3g}"
        digits = max(1 - math.floor(math.log10(self.standard_error)), 0)
        return f"{self.value:.{digits}f} ± {self.standard_error:.{digits}f}"


class Marks(NamedTuple):
    """What every round's model errs on the same spectra, by one measure."""

    spectra: tuple[int, ...]  # learned from, by round, the oldest first
    errors: Float[np.ndarray, "k h"]  # of each round's model on each spectrum; NaN where it isn't known
    groups: Integer[np.ndarray, " h"]  # the wafer of each spectrum, or a number of its own where that isn't known


class CurvePoint(NamedTuple):
    """What one round's model is worth, on spectra that it never saw; all rounds' on the same ones, the newest."""

    round: int
    spectra: int  # learned from
    mse_sample: float  # one generated spectrum, as the paper judges it; of intensity 0-100
    next_batch_mse: float | None  # of the last round's model on this round's batch, before learning from it
    judged_by: int  # held-out spectra; 0 where an earlier version didn't record it
    hold_out: Mapping[str, Estimate]  # mean errors by measure, of the ensemble's mean; NaN where it can't be said
    left_out: Mapping[str, Estimate]  # of the spectra learned from, as models say them that left them out

    @property
    def mse(self) -> float:
        """The mean squared error on the hold-out, of intensity 0-100."""
        return self.hold_out["mse"].value

    @property
    def peak_errors(self) -> dict[str, float | None]:
        """Mean absolute errors on the hold-out by figure; None where no peak was found in both."""
        errors = {figure.name: self.hold_out[figure.name].value for figure in FIGURES if figure.name in self.hold_out}
        return {name: None if math.isnan(error) else error for name, error in errors.items()}

    def to_json(self) -> dict[str, Any]:
        """Return a flat record in JSON types, with `mse`, `delta_q_error`, `delta_q_standard_error` and so on."""
        record: dict[str, Any] = {"round": self.round, "spectra": self.spectra, "judged_by": self.judged_by}
        record |= _flat(self.hold_out, "") | {"mse_sample": self.mse_sample, "next_batch_mse": self.next_batch_mse}
        return record | _flat(self.left_out, "left_out_")


class Budget(NamedTuple):
    """What a campaign may use up, or has; None for no limit."""

    rounds: int
    spectra: int | None = None  # measured, held out ones included
    hours: float | None = None  # since the campaign began
    cpu_hours: float | None = None  # of simulation

    def spent(self, used: "Budget") -> str | None:
        """The first of the limits that is used up, in words."""
        for limit, so_far, words in zip(self, used, ("round", "spectra", "hour", "CPU-hour"), strict=True):
            if limit is not None and so_far is not None and so_far >= limit:
                counted = f"{limit:g} {words}" if words == "spectra" else _count(limit, words)
                return counted + " of simulation" * (words == "CPU-hour")
        return None


class Decision(NamedTuple):
    """Go on or stop, and why."""

    state: State
    reason: str  # a sentence or two for a person
    trend: Trend | None = None  # None before there is one
    evidence: Mapping[str, Any] = {}  # what the reason says, in numbers; JSON types
    improvements: tuple[float, ...] = ()  # relative, of the smoothed curve, round by round


def decide_by_smoothed_mse(
    curve: Sequence[CurvePoint],
    *,
    tolerance: float,
    patience: int,
    budget: Budget,
    used: Budget,
    room_left: bool,
    extended_to: int = 0,
) -> Decision:
    """Whether more measurements still improve the model.

    The curve's MSE is smoothed by averaging each round with the one before it. The campaign has converged when the
    smoothed MSE improved by less than `tolerance` (relative) in each of the last `patience` rounds.

    Args:
        curve: One point a round, oldest first; at least one.
        tolerance: Smallest relative improvement that is worth a round.
        patience: Rounds in a row below it.
        budget: What the campaign may use up.
        used: What it has; rounds, spectra, hours and CPU-hours.
        room_left: Whether there is an alloy left to measure.
        extended_to: The round up to which a person had the campaign go on whatever the curve or the limit of rounds
            says.
    """
    mse, smooth = [point.mse for point in curve], smoothed(curve)
    improvements = tuple(1 - now / before if before else 0.0 for before, now in pairwise(smooth))
    last = improvements[-patience:]
    spent = f"after {curve[-1].spectra} spectra in {_count(len(curve), 'round')}, hold-out MSE {mse[-1]:.3g}"
    changes = ", ".join(f"{100 * value:.2f} %" for value in last)
    known = (
        f"improvement of the smoothed MSE in the last {_count(len(last), 'round')}: {changes}"
        if last
        else "no trend yet"
    )
    over = budget._replace(rounds=max(budget.rounds, extended_to)).spent(used)
    if room_left and not over and used.rounds < extended_to:
        return Decision(
            "continue", f"Go on {spent}: extended to round {extended_to}; {known}.", improvements=improvements
        )
    if len(last) == patience and max(last) < tolerance:
        reason = f"Converged {spent}: {known}; less than {100 * tolerance:g} % each."
        return Decision("converged", reason, None, {}, improvements)
    if not room_left:
        return Decision(
            "exhausted", f"Stopped {spent}: no alloy is left to measure; {known}.", improvements=improvements
        )
    if over:
        return Decision(
            "exhausted", f"Stopped {spent}: the budget of {over} is spent; {known}.", improvements=improvements
        )
    return Decision("continue", f"Go on {spent}: {known}.", None, {}, improvements)


def smoothed(curve: Sequence[CurvePoint]) -> list[float]:
    """The MSE of each round averaged with that of the round before: what the stop rule looks at."""
    mse = [float(point.mse) for point in curve]
    return [*mse[:1], *((before + now) / 2 for before, now in pairwise(mse))]


class Forecast(NamedTuple):
    """What the hold-out MSE is expected to be after more spectra."""

    mse: float
    low: float  # the curve's own scatter about the power law, one standard deviation
    high: float


def estimate(errors: PerSample, groups: Groups) -> Estimate:
    """Return the mean of what is known and its standard error, the larger of that by spectra and that by groups.

    Spectra of one wafer err alike, so that many of them tell little more than one does.

    Args:
        errors: One a spectrum, NaN where unknown.
        groups: The wafer of each, or a number of its own.
    """
    errors, groups = errors[known := ~np.isnan(errors)], groups[known]
    if not len(errors):
        return Estimate(math.nan, math.nan)
    return Estimate(float(errors.mean()), standard_error(errors / len(errors), groups))


def standard_error(parts: PerSample, groups: Groups) -> float:
    """Return the standard error of a sum of parts, one a spectrum; NaN of a single part."""
    if len(parts) < 2:
        return math.nan
    parts = parts - parts.mean()
    of_groups = np.bincount(np.unique(groups, return_inverse=True)[1], parts)
    return math.sqrt(max(np.square(those).sum() * len(those) / max(len(those) - 1, 1) for those in (parts, of_groups)))


def forecast(spectra: Sequence[int], errors: Sequence[Estimate], at: int) -> Estimate | None:
    """Return what the error is expected to be after `at` spectra, of the same held-out ones; None before round three.

    By the power law with an offset through the rounds. The standard error is that of going on: how far the curve is
    from smooth, and not how well the held-out spectra stand for others.

    Args:
        spectra: Learned from, by round.
        errors: Of each round's model.
        at: Spectra learned from, then.
    """
    raise NotImplementedError


def decide(
    on: On,
    hold_out: Marks,
    left_out: Marks,
    changes: Sequence[float],
    *,
    batch: int,
    tolerance: float,
    patience: int,
    budget: Budget,
    used: Budget,
    room_left: bool,
    extended_to: int = 0,
) -> Decision:
    """Whether more measurements still improve what the campaign is for.

    Args:
        on: What has to settle: the MSE, the error of Δq, or which alloys of the map are a glass.
        hold_out: Of the spectra held out so far, by the measure that `on` names; by `mse` for `glass`.
        left_out: Of the spectra learned from, each as models say it that left it out; by the same measure.
        changes: Share of the map's alloys that changed sides from each round to the next; read for `glass` only.
        batch: Spectra that another batch brings to learn from.
        tolerance: Largest gain that isn't worth two more batches: a share of the MSE, 1/Å, or a share of the map.
        patience: Rounds in a row of which it has to be said.
        budget: What the campaign may use up.
        used: What it has; rounds, spectra, hours and CPU-hours.
        room_left: Whether there is an alloy left to measure.
        extended_to: The round up to which a person had the campaign go on whatever the curve or the limit of rounds
            says.
    """
    raise NotImplementedError


def expect(curve: Sequence[CurvePoint], spectra: int) -> Forecast | None:
    """The MSE after so many spectra, by the power law through the last rounds; None before the third.

    Learning curves of one model on one system follow a power law of the number of spectra until they level off, so this
    is what to hope for, not a promise.

    Args:
        curve: One point a round, oldest first.
        spectra: Learned from, then.
    """
    last = [point for point in curve if point.mse > 0][-TREND_ROUNDS:]
    if len({point.spectra for point in last}) < 3:
        return None
    x = [math.log(point.spectra) for point in last]
    y = [math.log(point.mse) for point in last]
    slope = min(linear_regression(x, y).slope, 0.0)  # more spectra don't harm
    intercept = fmean(y) - slope * fmean(x)
    scatter = math.sqrt(sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True)) / (len(x) - 2))
    mean = intercept + slope * math.log(spectra)
    return Forecast(math.exp(mean), math.exp(mean - scatter), math.exp(mean + scatter))


def _flat(errors: Mapping[str, Estimate], kind: str) -> dict[str, float | None]:
    """Return a value and a standard error for each measure, by names that no two share."""
    figures = {figure.name for figure in FIGURES}
    flat: dict[str, float] = {}
    for measure, (value, sure) in errors.items():
        flat[f"{kind}{measure}{'_error' * (measure in figures)}"] = value
        flat[f"{kind}{measure}_standard_error"] = sure
    return {name: None if math.isnan(value) else value for name, value in flat.items()}


def _count(number: int | float, word: str) -> str:
    return f"{number:g} {word}" + "s" * (number != 1)

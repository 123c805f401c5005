"""The learning curve, what the next batches are expected to bring, and the rule that ends a campaign.

All rounds' models are judged by the same spectra, so that what a batch brought is a mean of differences, spectrum by
spectrum. Two kinds of spectra tell: those held out, and those learned from, each as models foresee it that left it
out. How the rule was chosen, and how often it errs, is in docs/results.md; `tests.benchmarks.stopping` is the study.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Integer

from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.shapes import Groups, PerSample, Rows

AHEAD = 2  # batches that the rule looks ahead; what a single one brings is mostly luck
EXPONENTS: dict[str, float] = {"mse": 1.0, "delta_q": 1.5}  # of the power law in the number of spectra, by the study
RECENT = 3  # a round counts as its number of spectra to this power: the curve has to be right where it goes on
LEFT_OUT_SHARE = 0.8  # of the spectra are known to a model that leaves a fold out
SURE = 0.975  # that a value lies below the upper end of its interval, and as sure that it lies above the lower
FEWEST = 20  # spectra; the trend of fewer is that of one or two that err much
FEWEST_ROUNDS = 4  # that the curve goes through, where there are as many
GLASS_ROUNDS = 4  # over which the share of the map that changes sides is averaged

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

    def until(self, rounds: int) -> "Marks":
        """Return the marks of the first rounds' models, on the same spectra."""
        return Marks(self.spectra[:rounds], self.errors[:rounds], self.groups)


class Effort(NamedTuple):
    """What a campaign by wafers has used up."""

    wafers: int  # that spectra lie on
    spectra: int  # measured, held out ones included
    hours: float  # of both, by the campaign's `[cost]`

    def say(self) -> str:
        """Return it in words, such as `60 spectra on 3 wafers, 27 h`."""
        spectra = "1 spectrum" if self.spectra == 1 else f"{self.spectra} spectra"
        return f"{spectra} on {_count(self.wafers, 'wafer')}, {self.hours:.3g} h"


class CurvePoint(NamedTuple):
    """What one round's model is worth, on spectra that it never saw; all rounds' on the same ones, the newest."""

    round: int
    spectra: int  # learned from
    mse_sample: float  # one generated spectrum, as the paper judges it; of intensity 0-100; NaN without a hold-out
    next_batch_mse: float | None  # of the last round's model on this round's batch, before learning from it
    judged_by: int  # held-out spectra; 0 where an earlier version didn't record it
    hold_out: Mapping[str, Estimate]  # mean errors by measure, of the ensemble's mean; NaN where it can't be said
    left_out: Mapping[str, Estimate]  # of the spectra learned from, as models say them that left them out
    has_hold_out: bool = True  # else `hold_out` is `left_out`, and `judged_by` counts the spectra learned from
    effort: Effort | None = None  # until then; None where no spectrum says which wafer it lies on

    @property
    def mse(self) -> float:
        """The mean squared error on the hold-out, of intensity 0-100."""
        return self.hold_out["mse"].value

    @property
    def judged_on(self) -> str:
        """Of what the errors are, in a word before "MSE"."""
        return "hold-out" if self.has_hold_out else "left-out"

    def to_json(self) -> dict[str, Any]:
        """Return a flat record in JSON types, with `mse`, `delta_q_error`, `delta_q_standard_error` and so on."""
        record: dict[str, Any] = {"round": self.round, "spectra": self.spectra, "judged_by": self.judged_by}
        sample = None if math.isnan(self.mse_sample) else self.mse_sample
        record |= _flat(self.hold_out, "") | {"mse_sample": sample, "next_batch_mse": self.next_batch_mse}
        wafers, hours = (None, None) if self.effort is None else (self.effort.wafers, self.effort.hours)
        record |= _flat(self.left_out, "left_out_") | {"has_hold_out": self.has_hold_out}
        return record | {"wafers": wafers, "hours": hours}


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


def forecast(spectra: Sequence[int], errors: Sequence[Estimate], at: int, *, measure: str = "mse") -> Estimate | None:
    """Return what the error is expected to be after `at` spectra, of the same held-out ones.

    None before round three, and of a curve so steep that it would fall below 0, which is no power law.

    By the power law with an offset through the last rounds. The standard error is that of going on: how far the curve
    is from smooth, and not how well the held-out spectra stand for others.

    Args:
        spectra: Learned from, by round, the oldest first.
        errors: Of each round's model, by one measure.
        at: Spectra learned from, then.
        measure: Whose exponent the power law has; that of the MSE for any other than Δq.
    """
    known = [(n, error.value) for n, error in zip(spectra, errors, strict=True) if math.isfinite(error.value)]
    if len({n for n, _ in known}) < 3:
        return None
    learned, levels = np.array(known).T
    law = _PowerLaw.of(learned, float(at), EXPONENTS.get(measure, EXPONENTS["mse"]))
    distance = law.at - float(law.weights @ law.shape)
    reach = math.sqrt(1 + float(law.weights @ law.weights) + distance**2 * float(law.slope @ law.slope))
    found = Estimate(float(law.weights @ levels + law.slope @ levels * distance), law.scatter(levels) * reach)
    return found if found.value > 0 else None


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

    It has converged where the next two batches together are expected to bring less than the tolerance, at the upper
    end of its 95 % interval, in each of the last `patience` rounds; and never while the error that it goes by rises.
    `glass` goes by the maps alone, and no error.

    Args:
        on: What has to settle: the MSE, the error of Δq, or which alloys of the map are a glass.
        hold_out: Of all spectra held out so far, by the measure that `on` names; by `mse` for `glass`. May be none.
        left_out: Of all spectra learned from, each as models foresee it that left it out; by the same measure.
        changes: Share of the map's alloys that changed sides from each round to the next; read for `glass` alone.
        batch: Spectra that another batch brings to learn from.
        tolerance: The gain of two batches that isn't worth them: a share of the MSE, 1/Å, or a share of the map.
        patience: Rounds in a row of which it has to be said.
        budget: What the campaign may use up.
        used: What it has; rounds, spectra, hours and CPU-hours.
        room_left: Whether there is an alloy left to measure.
        extended_to: The round up to which a person had the campaign go on whatever the curve or the limit of rounds
            says.
    """
    rounds = len(hold_out.spectra)
    trend, said, evidence = _judge(on, hold_out, left_out, changes, batch, tolerance)
    before = [
        _judge(on, hold_out.until(last), left_out.until(last), changes[: last - 1], batch, tolerance).trend
        for last in range(rounds - 1, max(rounds - patience, 0), -1)
    ]
    if trend == "converged" and before != ["converged"] * (patience - 1):
        trend, said = "unknown", f"not yet known: {said}, which has to hold in {_count(patience, 'round')} in a row"
    told, name = (hold_out, "hold-out") if len(hold_out.groups) else (left_out, "left-out")
    now = _say_error(on, estimate(told.errors[-1], told.groups))
    after = f"after {hold_out.spectra[-1]} spectra in {_count(used.rounds, 'round')}, {name} {now}"
    over = budget._replace(rounds=max(budget.rounds, extended_to)).spent(used)
    if room_left and not over and used.rounds < extended_to:
        return Decision("continue", f"Go on {after}: extended to round {extended_to}; {said}.", trend, evidence)
    if trend == "converged":
        return Decision("converged", f"Converged {after}: {said}.", trend, evidence)
    if not room_left:
        reason = f"Budget spent, not converged, {after}: no alloy is left to measure; {said}."
        return Decision("exhausted", reason, trend, evidence)
    if over:
        reason = f"Budget spent, not converged, {after}: the budget of {over} is spent; {said}."
        return Decision("exhausted", reason, trend, evidence)
    return Decision("continue", f"Go on {after}: {said}.", trend, evidence)


class _Said(NamedTuple):
    """How that which has to settle is spoken of."""

    name: str
    more: str  # what so many alloys would do
    unit: str
    scale: float  # of a gain, to its unit
    digits: int

    def say(self, value: float | Estimate) -> str:
        """Return a gain in its unit, with its standard error where it has one."""
        parts = value if isinstance(value, Estimate) else (value,)
        return f"{' ± '.join(self.number(part) for part in parts if math.isfinite(part))} {self.unit}"

    def number(self, value: float) -> str:
        """Return it without its unit."""
        return f"{self.scale * value:.{self.digits}f}"


_SAID = {
    "mse": _Said("MSE", "another {more} alloys would lower the MSE by {gain}", "%", 100, 1),
    "delta_q": _Said("error of Δq", "another {more} alloys would lower the error of Δq by {gain}", "1/Å", 1, 4),
    "glass": _Said("glass", "another {more} alloys would move {gain} of the map to the other side", "%", 100, 1),
}
_WHY_RISING = (
    "perhaps the newest alloys are of a phase or a wafer unlike the others, or a flagged scan is learned from; look at "
    "them before measuring more"
)


def _say_error(on: On, error: Estimate) -> str:
    if math.isnan(error.value):
        return f"{'error of Δq' if on == 'delta_q' else 'MSE'} not known"
    digits, unit = (".3f", " 1/Å") if on == "delta_q" else (".3g", "")
    sure = f" ± {error.standard_error:{digits}}" if math.isfinite(error.standard_error) else ""
    return f"{'error of Δq' if on == 'delta_q' else 'MSE'} {error.value:{digits}}{sure}{unit}"


class _Verdict(NamedTuple):
    """What the marks of some rounds say."""

    trend: Trend | None
    said: str
    evidence: dict[str, Any]


def _judge(
    on: On, hold_out: Marks, left_out: Marks, changes: Sequence[float], batch: int, tolerance: float
) -> _Verdict:
    """Judge the last of some rounds."""
    more = AHEAD * batch
    found = _gain_of_map(hold_out.spectra, changes, more) if on == "glass" else _gain(on, hold_out, left_out, more)
    if found is None:
        return _Verdict(None, "no trend yet", {})
    if not found.level:
        return _Verdict("converged", "there is nothing left to gain", {})
    unit = found.level if on == "mse" else 1.0
    gain, brought = (Estimate(value / unit, error / unit) for value, error in (found.ahead, found.brought))
    low, high = interval(gain, found.free)
    worst = interval(brought, float(found.spectra - 1))
    numbers = {
        "tolerance": tolerance,
        "gain": gain.value,
        "gain_standard_error": gain.standard_error,
        "low": low,
        "high": high,
        "brought": brought.value,
        "brought_standard_error": brought.standard_error,
    }
    judged_by = None if on == "glass" else found.spectra
    evidence = {"measure": on, "alloys": more, "judged_by": judged_by} | {
        name: value if math.isfinite(value) else None for name, value in numbers.items()
    }
    words = _SAID[on]
    if found.ahead.value > found.level:  # a curve so steep is no power law; an error isn't lowered by more than itself
        said = f"the {words.name} falls too steeply to say what another {more} alloys would bring"
    else:
        said = words.more.format(more=more, gain=words.say(gain))
        said += f" (95 % interval {words.number(low)} to {words.say(high)}, tolerance {words.say(tolerance)})"
    if worst[1] < 0 and brought.value < -tolerance:
        rose = words.say(Estimate(-brought.value, brought.standard_error))
        return _Verdict(
            "rising", f"rising: the {words.name} rose by {rose} with the last {AHEAD} batches; {_WHY_RISING}", evidence
        )
    if found.spectra < FEWEST:
        return _Verdict("unknown", f"not yet known, as only {found.spectra} spectra tell: {said}", evidence)
    if high < tolerance and not brought.value < -tolerance:
        return _Verdict("converged", said, evidence)
    if low > 0 and gain.value > tolerance:
        return _Verdict("improving", f"still improving: {said}", evidence)
    return _Verdict("unknown", f"not yet known: {said}", evidence)


def interval(estimate: Estimate, free: float) -> tuple[float, float]:
    """Return the 95 % interval of a value whose standard error comes from so many free values, by Student's t."""
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    reach = float(cast(float, stdtrit(max(free, 1.0), SURE))) * estimate.standard_error
    return estimate.value - reach, estimate.value + reach


class _PowerLaw(NamedTuple):
    """The curve c + a n^-p through some rounds, by least squares, where a round counts the more the later it is."""

    shape: PerSample  # n^-p of each round, 1 for the last
    weights: PerSample  # of each round, sum 1
    at: float  # the shape at the number of spectra that is asked for
    slope: PerSample  # the sum of the rounds' errors with these weights is a

    @classmethod
    def of(cls, spectra: PerSample, at: float, exponent: float) -> "_PowerLaw":
        """Return the one through rounds of so many spectra."""
        shape = (spectra / spectra[-1]) ** -exponent
        weights = spectra**RECENT / np.sum(spectra**RECENT)
        centred = shape - weights @ shape
        return cls(shape, weights, float((at / spectra[-1]) ** -exponent), weights * centred / (weights @ centred**2))

    @property
    def free(self) -> float:
        """How many rounds there are beyond the two that the curve takes up, where those that count less are fewer."""
        return max(1 / float(self.weights @ self.weights) - 2, 0.5)

    def scatter(self, levels: PerSample) -> float:
        """Return how far the rounds' errors lie from the curve, a standard deviation."""
        residuals = levels - self.weights @ levels - (self.slope @ levels) * (self.shape - self.weights @ self.shape)
        return math.sqrt(float(self.weights @ residuals**2) * (self.free + 2) / self.free)


class _Gain(NamedTuple):
    """What some spectra say of more batches."""

    ahead: Estimate  # what the next ones are expected to bring
    brought: Estimate  # what the last ones brought
    level: float  # the error now
    spectra: int  # that tell: of which both of the last two models were asked without knowing them
    free: float  # rounds beyond those that the curve takes up


def _gain(on: On, hold_out: Marks, left_out: Marks, more: int) -> _Gain | None:
    """Return what both kinds of spectra say together, each as much as its number; None where there is no trend yet."""
    exponent = EXPONENTS[on]
    found = [_gain_of(hold_out, more, exponent, 1.0), _gain_of(left_out, more, exponent, LEFT_OUT_SHARE**exponent)]
    known = [gain for gain in found if gain is not None]
    total = sum(gain.spectra for gain in known)
    if not total:
        return None
    shares = [gain.spectra / total for gain in known]
    return _Gain(
        _mean([gain.ahead for gain in known], shares),
        _mean([gain.brought for gain in known], shares),
        sum(share * gain.level for share, gain in zip(shares, known, strict=True)),
        total,
        min(gain.free for gain in known),
    )


def _gain_of(marks: Marks, more: int, exponent: float, factor: float) -> _Gain | None:
    """Return what spectra of one kind say; from the round on from which they say it most surely.

    Nothing where the last model's errors aren't known, as those of Δq where it generates no peak any more. A curve
    that plunges before it levels off is no power law from its first round.

    Args:
        marks: Of one kind.
        more: Spectra of the next batches.
        exponent: Of the power law.
        factor: From the errors of models that know fewer spectra to those of models that know all.
    """
    rounds = np.flatnonzero(~np.isnan(marks.errors).all(1))
    if len(rounds) and rounds[-1] != len(marks.errors) - 1:
        return None
    found = [
        gain
        for begin in range(max(len(rounds) - FEWEST_ROUNDS, 0) + 1)
        if (gain := _gain_since(marks, rounds[begin:], more, exponent, factor)) is not None
    ]
    return min(found, key=lambda gain: interval(gain.ahead, gain.free)[1] - gain.ahead.value, default=None)


def _gain_since(marks: Marks, rounds: Rows, more: int, exponent: float, factor: float) -> _Gain | None:
    """Return what spectra say by the power law through their mean paired changes from round to round.

    The forecast is a sum of such changes with fixed weights, so each spectrum has its own part in it, and the spread
    of the parts is its standard error; the scatter of the rounds about the curve comes on top.
    """
    spectra, errors = np.array(marks.spectra, dtype=float)[rounds], marks.errors[rounds].astype(float)
    changes = errors[:-1] - errors[1:]
    known = ~np.isnan(changes)
    counts = known.sum(1)
    begin = max(np.flatnonzero(counts < 2), default=-1) + 1  # before it too few were asked of both models
    if len(changes) - begin < 2 or len(np.unique(spectra[begin:])) < 3:
        return None
    spectra, changes, known, counts = spectra[begin:], changes[begin:], known[begin:], counts[begin:]
    means = np.where(known, changes, 0).sum(1) / counts
    parts = np.where(known, changes - means[:, None], 0) / counts[:, None]
    levels = -np.concatenate([[0.0], means.cumsum()])  # relative to the first
    law = _PowerLaw.of(spectra, float(spectra[-1]) + more, exponent)
    step = factor * (1 - law.at)
    weights = -step * law.slope[::-1].cumsum()[::-1][1:]  # of the changes
    told = known.any(0)
    by_spectra = standard_error((weights @ parts)[told], marks.groups[told])
    by_rounds = step * law.scatter(levels) * math.sqrt(float(law.slope @ law.slope))
    last = parts[-AHEAD:].sum(0)
    return _Gain(
        Estimate(float(weights @ means), math.hypot(by_spectra, by_rounds)),
        Estimate(factor * float(means[-AHEAD:].sum()), factor * standard_error(last[told], marks.groups[told])),
        float(errors[-1][~np.isnan(errors[-1])].mean()),
        int(counts[-1]),
        law.free,
    )


def _gain_of_map(spectra: Sequence[int], changes: Sequence[float], more: int) -> _Gain | None:
    """Return how much of the map the next batches are expected to move to the other side.

    As much a batch as over the last rounds, less as there are more spectra.
    """
    last = [(n, share) for n, share in zip(spectra[1:], changes, strict=True) if math.isfinite(share)][-GLASS_ROUNDS:]
    if len(last) < 2:
        return None
    foreseen = np.array([AHEAD * share * n / (spectra[-1] + more) for n, share in last])
    spread = float(foreseen.std(ddof=1)) / math.sqrt(len(last))
    return _Gain(Estimate(float(foreseen.mean()), spread), Estimate(math.nan, math.nan), 1.0, FEWEST, len(last) - 1.0)


def _mean(estimates: Sequence[Estimate], shares: Sequence[float]) -> Estimate:
    values, errors = np.array(estimates).T
    return Estimate(float(values @ shares), math.hypot(*(errors * shares)))


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

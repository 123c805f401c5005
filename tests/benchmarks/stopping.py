"""How often rules that end a campaign end it too soon, and how much too late: judged by replays that went on.

What is true of a round is read from spectra that were never planned and that no rule saw: the gain of the next two
batches by the smooth curve through the errors of all rounds' models on them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import nnls  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from glassmap.agent.config.planning import TOLERANCES
from glassmap.agent.maps.glass import GLASS_DELTA_Q
from glassmap.agent.planning.convergence import AHEAD, Budget, Marks, On, decide
from glassmap.agent.shapes import PerSample
from tests.benchmarks.traces import SCENARIOS, Trace, replay_all

ALL, HELD_WAFER = "all but held-out wafers", "a wafer held out"
FIRST = 2  # round, from 0, in which a rule may stop
Rule = Callable[[Trace, int], bool]  # whether it stops after a round, counted from 0


class Stop(NamedTuple):
    """Where a rule ended a replay, and what was true there."""

    trace: Trace
    round: int | None  # None where it never did
    gain: float  # true, of the next two batches, in tolerances; NaN where it never stopped
    needed: int | None  # the first round from which on two batches gain less than the tolerance; None where none is
    last: int  # the last round of which that is known

    @property
    def is_false(self) -> bool:
        """Whether it stopped with more to gain than the tolerance."""
        return self.gain > 1

    @property
    def excess(self) -> int | None:
        """Batches spent beyond need, fewer than 0 where it stopped before; to the end where it never stopped."""
        return None if self.needed is None else (self.last + 1 if self.round is None else self.round) - self.needed


def run(
    paths: Sequence[Path],
    folder: Path,
    *,
    where: str | None,
    replays: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """One record a rule, a thing that has to settle and a scenario, and one for all scenarios but the wafers.

    Args:
        paths: Data sets.
        folder: Where traces are kept; those that it has aren't made again.
        where: Keeps the samples for which this holds.
        replays: How many.
        report: Is told of each replay that is made, and of each rule that is judged.
    """
    traces = list(replay_all(paths, folder, where=where, replays=replays, report=report))
    records: list[dict[str, Any]] = []
    for on in TOLERANCES:
        for name, rule in rules(on).items():
            stops = [stop(trace, on, rule) for trace in traces]
            cases = {
                scenario.name: [one for one in stops if one.trace.scenario == scenario.name] for scenario in SCENARIOS
            }
            cases = {ALL: [one for one in stops if one.trace.scenario != HELD_WAFER], **cases}
            records += [
                {"on": on, "rule": name, "scenario": case, **summary(some)} for case, some in cases.items() if some
            ]
            report(f"{on}: {name}, {100 * summary(cases[ALL] or stops)['false']:.1f} % false")
    return records


def draw(records: Sequence[dict[str, Any]], picture: Path) -> None:
    """Draw the share of false stops of every rule against the batches that it spends beyond need.

    Args:
        records: Of `run`.
        picture: PNG to write.
    """
    titles = {"mse": "MSE, 5 %", "delta_q": "error of Δq, 0.002 1/Å", "glass": "sides of the map, 2 %"}
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (on, title) in zip(figure.subplots(1, len(titles), sharey=True), titles.items(), strict=True):
        chosen = [record for record in records if record["on"] == on and record["scenario"] == ALL]
        for record in chosen:
            ours_ = record["rule"].startswith("ours")
            axes.plot(
                record["excess"], 100 * record["false"], "o", color="#0072b2" if ours_ else "#8c8c8c", markersize=7
            )
            low = record["rule"] == "ours, two rounds in a row"
            axes.annotate(
                record["rule"],
                (record["excess"], 100 * record["false"]),
                xytext=(-3 if low else -7 if ours_ else 6, -15 if low else -11 if ours_ else 3),
                textcoords="offset points",
                fontsize=7.5,
                horizontalalignment="right" if ours_ and not low else "left",
                weight="bold" if ours_ else "normal",
            )
        axes.axhline(5, color="black", linewidth=0.8, linestyle="--")
        axes.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel="batches beyond need, median", xlim=(-6, 21), ylim=(-9, 80))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("false stops, %")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)


def true_gains(trace: Trace, on: On) -> PerSample:
    """Return what the two batches after each round bring, in tolerances; NaN for the last rounds.

    The MSE and the error of Δq by the curve c + a n^-p, each of c and a at least 0, that fits all rounds best; the
    share of the alloys that change sides by a straight line on logarithmic axes.
    """
    n, gains = trace.spectra.astype(float), np.full(len(trace.spectra), np.nan)
    if on == "glass":
        moved = (_sides(trace)[AHEAD:] != _sides(trace)[:-AHEAD]).mean(1)
        line = np.polynomial.Polynomial.fit(np.log(n[:-AHEAD]), np.log(moved + 1e-3), 1)
        gains[:-AHEAD] = np.exp(line(np.log(n[:-AHEAD])))
        return gains / TOLERANCES[on]
    smooth = _smooth(n, np.nanmean(trace.test[on], 1))
    gains[:-AHEAD] = smooth[:-AHEAD] - smooth[AHEAD:]
    return gains / (TOLERANCES[on] * (smooth if on == "mse" else 1))


def stop(trace: Trace, on: On, rule: Rule) -> Stop:
    """Return where a rule ends a replay."""
    gains = true_gains(trace, on)
    last = len(gains) - AHEAD - 1
    over = np.flatnonzero(gains[: last + 1] > 1)
    needed = int(over[-1]) + 1 if len(over) else 0
    where = next((k for k in range(FIRST, last + 1) if rule(trace, k)), None)
    gain = float("nan") if where is None else float(gains[where])
    return Stop(trace, where, gain, max(needed, FIRST) if needed <= last else None, last)


def ours(on: On, patience: int) -> Rule:
    """Return the rule of campaigns."""

    def rule(trace: Trace, k: int) -> bool:
        exam = "mse" if on == "glass" else on
        held = trace.hold_out_since <= k
        sides = _sides(trace)[: k + 1]
        spectra = tuple(trace.spectra[: k + 1].tolist())
        decision = decide(
            on,
            Marks(spectra, trace.hold_out[exam][: k + 1, held], trace.hold_out_groups[held]),
            Marks(spectra, trace.left_out[exam][: k + 1, : spectra[-1]], trace.left_out_groups[: spectra[-1]]),
            (sides[1:] != sides[:-1]).mean(1).tolist(),
            batch=int(trace.spectra[k] - trace.spectra[k - 1]),
            tolerance=TOLERANCES[on],
            patience=patience,
            budget=Budget(10**6),
            used=Budget(k + 1),
            room_left=True,
        )
        return decision.state == "converged"

    return rule


def smoothed_mse(trace: Trace, k: int) -> bool:
    """Whether the MSE, on what was held out by then and averaged over two rounds, twice improved by less than 5 %."""
    mse = [
        float(np.nanmean(trace.hold_out["mse"][j][trace.hold_out_since <= j])) for j in range(k - 3, k + 1) if j >= 0
    ]
    means = [*mse[:1], *((a + b) / 2 for a, b in pairwise(mse))][-3:]
    return all(1 - now / before < 0.05 for before, now in pairwise(means))


def below(mse: float) -> Rule:
    """Return "MSE under x"."""
    return lambda trace, k: float(np.nanmean(trace.hold_out["mse"][k][trace.hold_out_since <= k])) < mse


def after(spectra: int) -> Rule:
    """Return a fixed number of measured spectra."""
    return lambda trace, k: bool(trace.measured[k] >= spectra)


def mean_covariance(share: float) -> Rule:
    """Return "the model's own uncertainty, averaged over the system, twice fell by less than this share".

    After Thelen et al. 2023, whose criterion is the mean of the posterior covariance of a Gaussian process.
    """

    def rule(trace: Trace, k: int) -> bool:
        variance = np.square(trace.std[k - 2 : k + 1])
        return bool((1 - variance[1:] / variance[:-1] < share).all())

    return rule


def rules(on: On) -> Mapping[str, Rule]:
    """Return what is compared, by name."""
    return {
        "ours": ours(on, 1),
        "ours, two rounds in a row": ours(on, 2),
        "smoothed MSE, 5 % twice": smoothed_mse,
        "MSE under 10": below(10),
        "mean covariance, 5 % twice": mean_covariance(0.05),
        "100 spectra": after(100),
        "200 spectra": after(200),
    }


def summary(stops: Sequence[Stop]) -> dict[str, Any]:
    """Return what a rule did in some replays: shares, and batches or spectra beyond need."""
    excess = [one.excess for one in stops if one.excess is not None]
    needed = [one for one in stops if one.needed is not None]
    more = [
        int(one.trace.measured[_end(one)] - one.trace.measured[one.needed]) for one in needed if one.needed is not None
    ]
    false = [one.gain for one in stops if one.is_false]
    stopped = sum(one.round is not None for one in stops)
    return {
        "replays": len(stops),
        "false": len(false) / len(stops),
        "false_of_stops": len(false) / max(stopped, 1),
        "worst": max(false, default=None),
        "excess": float(np.median(excess)) if excess else float("nan"),
        "excess_spectra": float(np.median(more)) if more else float("nan"),
        "never": sum(one.round is None for one in needed) / max(len(needed), 1),
    }


def _end(one: Stop) -> int:
    return one.last if one.round is None else one.round


def _sides(trace: Trace) -> np.ndarray:
    """Whether each tested alloy is a glass in the map of each round; 2 without a peak."""
    return np.where(np.isnan(trace.generated), 2, trace.generated >= GLASS_DELTA_Q)


def _smooth(n: PerSample, errors: PerSample) -> PerSample:
    fits = []
    for exponent in np.arange(0.2, 3.01, 0.1):
        shape = (n / n[0]) ** -exponent
        columns = np.stack([np.ones_like(n), shape], 1)
        weights, residual = nnls(columns / errors[:, None], np.ones_like(n))
        fits.append((residual, columns @ weights))
    return min(fits, key=lambda fit: fit[0])[1]

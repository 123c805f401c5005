"""How far a new measurement's Δq or q1 may lie from what a map says of an alloy.

What a map says is read off a mean spectrum. What will be measured there differs from it by noise and by what the model
doesn't know. How much that is, is learned from spectra that were left out: one fold at a time, with all that lies near
them, and with their whole wafer where wafers are known. A Gaussian process of the figure itself, which generates no
spectrum, gives a second opinion, and halfway between the two is what is expected.

Letters: n measured spectra, k those with the figure, l left-out ones, b alloys of a block, m members, e elements and
columns of the context, a atoms.
"""

# SciPy has no types
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Integer
from scipy.optimize import nnls
from scipy.spatial.distance import cdist
from torch import Tensor

from glassmap.agent.models.base_model import Saved, distances_to
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.models.gaussian_process import CONTEXTS, context_weights, matern
from glassmap.agent.peaks.figures import DELTA_Q, Q1, PeakFigure
from glassmap.agent.shapes import Compositions, PerSample, Rows

FORECAST: tuple[PeakFigure, ...] = (DELTA_Q, Q1)
SECOND_OPINION = 0.5  # how much the process of the figure counts beside the spectra (docs/results.md)
LENGTHS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.5)  # of its kernel, distance of composition vectors
NOISES = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # variance of a measurement in that of the process
MOST_CHOSEN_BY = 500  # measured spectra by which the kernel is chosen, drawn evenly
MOST_KNOWN = 1000  # measured spectra that the process is conditioned on, drawn evenly
FEWEST = 10  # measured spectra with the figure, and left-out ones of which it was foretold, to say anything
USUAL_SPREADS = 0.9  # of the left-out spectra's; where members say nothing, their spread is taken to be as large
ROUNDS = 20  # of reweighing; the costs have settled after a handful
ATOMS = 100
OF_DISTANCE = np.array([False, False, True, True, True])  # which of the `Costs` are of what isn't known nearby
MOST_RAISED = 20.0  # times; where nothing that was said helps, no factor does
Atoms = Float[np.ndarray, " a"]
PerLeftOut = Float[np.ndarray, " l"]


class LeftOutFigures(NamedTuple):
    """A figure of spectra that were left out, and what is said of them by what had not seen them."""

    rows: Integer[np.ndarray, " l"]  # of what was learned from; a spectrum may be left out several times
    groups: Integer[np.ndarray, " l"]  # those that were left out together share a number
    measured: PerLeftOut  # NaN without a first peak
    said: PerLeftOut  # of the mean spectrum
    spread: PerLeftOut  # of members about it; NaN where fewer than two have the figure
    unknown: PerLeftOut  # how little is known there, 0 to 1


class Said(NamedTuple):
    """What a map is made from, of some alloys."""

    alloys: Float[Tensor, "b e"]
    figure: Float[Tensor, " b"]  # of the mean spectrum, NaN without a first peak
    spread: Float[Tensor, " b"]  # of members about it; NaN where fewer than two have the figure
    unknown: Float[Tensor, " b"]  # how little is known there, 0 to 1


class ProcessKernel(NamedTuple):
    """How far a figure tells of others, how noisy it is, and what the context counts beside the composition."""

    length: float
    noise: float  # variance of a measurement in that of the process
    context: float = 0.0

    @classmethod
    def choose(cls, compositions: Compositions, figures: PerSample, *, context: int) -> "ProcessKernel":
        """Return the likeliest one; noise near a tenth is believed rather than none.

        Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), eq. 5.8, with the variance of the
        process at its best.

        Args:
            compositions: `(k, e)`.
            figures: `(k,)`.
            context: How many columns behind the shares are of the context.
        """
        rows = _evenly(np.arange(len(figures)), MOST_CHOSEN_BY)
        compositions, away = compositions[rows], figures[rows] - figures[rows].mean()
        n, best, most = len(rows), None, -math.inf
        for weight in CONTEXTS if context else (0.0,):
            columns = context_weights(weight, context, compositions.shape[1]).numpy()
            distances = torch.as_tensor(cdist(compositions * columns, compositions * columns))
            for length in LENGTHS:
                values, vectors = np.linalg.eigh(matern(distances, length).numpy())
                squares = np.square(vectors.T @ away)
                for noise in NOISES:
                    variances = values.clip(0) + noise
                    scale = max(float((squares / variances).mean()), 1e-30)
                    likely = -0.5 * (n * math.log(scale) + float(np.log(variances).sum()))
                    likely -= math.log(noise / 0.1) ** 2 / 32
                    if likely > most:
                        best, most = cls(length, noise, weight), likely
        assert best is not None, "there are kernels"
        return best


@dataclass(frozen=True, eq=False)
class FigureProcess:
    """A Gaussian process of one figure over composition, conditioned on measured spectra; double precision."""

    kernel: ProcessKernel
    known: Float[Tensor, "k e"]  # weighed as distances count
    weights: Float[Tensor, " e"]
    middle: float
    coefficients: Float[Tensor, " k"]
    inverse: Float[Tensor, "k k"]

    @classmethod
    def conditioned(
        cls, compositions: Compositions, figures: PerSample, kernel: ProcessKernel, *, context: int
    ) -> "FigureProcess":
        """Condition a process of a given kernel on some spectra's figures, all finite, on the CPU."""
        weights = context_weights(kernel.context, context, compositions.shape[1])
        known = compositions * weights.numpy()
        covariance = matern(torch.as_tensor(cdist(known, known)), kernel.length)
        inverse = torch.inverse(covariance + kernel.noise * torch.eye(len(known), dtype=torch.float64)).contiguous()
        middle = float(figures.mean())
        return cls(
            kernel, torch.as_tensor(known), weights, middle, inverse @ torch.as_tensor(figures - middle), inverse
        )

    def on(self, device: torch.device) -> "FigureProcess":
        """Return the same process on a device."""
        parts = {name: getattr(self, name).to(device) for name in ("known", "weights", "coefficients", "inverse")}
        return replace(self, **parts)

    def at(self, alloys: Float[Tensor, "b e"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return of some alloys the mean, and the variance in that of the process, 0 to 1."""
        kernel = matern(distances_to(self.known, alloys * self.weights), self.kernel.length)
        variance = (1 - ((kernel @ self.inverse) * kernel).sum(1)).clamp(0, 1)
        return self.middle + kernel @ self.coefficients, variance


class Costs(NamedTuple):
    """The squared error that is expected: `noise` and each of these times its cause; none negative, unit squared."""

    noise: float
    spread: float  # of members, squared
    unknown: float  # how little the spectra's process knows, squared
    variance: float  # of the figure's process
    gap: float  # between the two opinions, squared


class LeftOutForecast(NamedTuple):
    """What is said of spectra by what had not seen them."""

    figure: PerSample  # of the mean spectrum
    expected: PerSample
    std: PerSample


@dataclass(frozen=True, eq=False)
class FigureForecast:
    """What a new measurement's figure is expected to be, and how it scatters about that."""

    process: FigureProcess
    costs: Costs
    least: float
    """No squared error less than this is expected."""
    usual_spread: float
    """Of members, where too few have the figure to say."""
    atoms: Atoms
    """Quantiles of the error in units of its expected size, rising; each as likely as the other."""
    left_out: LeftOutForecast
    """What is said of each spectrum learned from by what had not seen it, `(n,)`; NaN of those that none left out."""

    def at(self, said: Said) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return of some alloys what is expected, and the size of a new measurement's error about it.

        NaN where the mean spectrum has no first peak.
        """
        opinion, variance = self.process.at(said.alloys)
        figure = said.figure.double()
        gap = opinion - figure
        spread = said.spread.double().nan_to_num(nan=self.usual_spread)
        causes = (spread.square(), said.unknown.double().square(), variance, gap.square())
        square = self.costs.noise + sum(cost * cause for cost, cause in zip(self.costs[1:], causes, strict=True))
        return figure + SECOND_OPINION * gap, (square + 0 * gap).clamp(min=self.least).sqrt()

    def save(self) -> Saved:
        """Return what a checkpoint keeps; the matrix as it is, since solved anew its last bits may be others."""
        process = self.process
        tensors = {name: getattr(process, name) for name in ("known", "weights", "coefficients", "inverse")}
        tensors["left_out"] = torch.as_tensor(np.stack(self.left_out))
        facts = {
            "kernel": process.kernel._asdict(),
            "middle": process.middle,
            "costs": self.costs._asdict(),
            "least": self.least,
            "usual_spread": self.usual_spread,
            "atoms": self.atoms.tolist(),
        }
        return Saved(tensors, facts)

    @classmethod
    def restored(cls, saved: Saved, device: torch.device) -> "FigureForecast":
        """Return the forecast that a checkpoint kept.

        Raises:
            KeyError: If something is missing.
        """
        facts, parts = saved.facts, saved.tensors
        process = FigureProcess(
            ProcessKernel(**facts["kernel"]),
            parts["known"],
            parts["weights"],
            facts["middle"],
            parts["coefficients"],
            parts["inverse"],
        )
        costs, atoms = Costs(**facts["costs"]), np.array(facts["atoms"])
        left_out = LeftOutForecast(*parts["left_out"].numpy())
        return cls(process.on(device), costs, facts["least"], facts["usual_spread"], atoms, left_out)


def learn_forecast(
    compositions: Compositions,
    measured: PerSample,
    left_out: Sequence[LeftOutFigures],
    *,
    context: int,
    device: torch.device,
) -> FigureForecast | None:
    """Return what left-out spectra tell of a figure; None where too few tell.

    What was left out by folds counts as much as all that was left out with what lies near it, and a squared error by
    the inverse of its expectation, as it scatters as much as it is large. Of regions and wafers that are left out no
    members of a whole stack tell, so there all is counted as what distance costs.

    Args:
        compositions: What was learned from, `(n, e)`, the columns of a context behind.
        measured: The figure of each, NaN without one.
        left_out: One fold at a time first, then by regions, and by wafers.
        context: How many of the columns are of the context.
        device: Of the forecast.
    """
    there = np.isfinite(measured)
    if there.sum() < FEWEST:
        return None
    kernel = ProcessKernel.choose(compositions[there], measured[there], context=context)
    spreads = left_out[0].spread[np.isfinite(left_out[0].spread)]
    usual = float(np.quantile(spreads, USUAL_SPREADS)) if len(spreads) else 0.0
    causes: list[Float[np.ndarray, "k 5"]] = []
    errors: list[PerLeftOut] = []
    counts: list[PerLeftOut] = []
    foretold: list[tuple[PerLeftOut, Float[np.ndarray, "l 5"]]] = []
    for kind, part in enumerate(left_out):
        opinion, variance = _second_opinion(compositions, measured, part, kernel, context)
        gap = opinion - part.said
        spread = np.where(np.isfinite(part.spread), part.spread, usual if kind == 0 else 0.0)
        table = np.stack([np.ones(len(gap)), spread**2, part.unknown**2, variance, gap**2], axis=1)
        expected = part.said + SECOND_OPINION * gap
        foretold.append((expected, table))
        error = part.measured - expected
        told = np.isfinite(error) & np.isfinite(table).all(1)
        if told.sum() >= FEWEST:
            causes.append(table[told])
            errors.append(error[told])
            count_of_kind = 1.0 if kind == 0 else 1 / (len(left_out) - 1)
            counts.append(np.full(int(told.sum()), count_of_kind / int(told.sum())))
    if not causes:
        return None
    table, error, count = np.concatenate(causes), np.concatenate(errors), np.concatenate(counts)
    mean = max(float((count * error**2).sum() / count.sum()), 1e-12)
    least = 1e-3 * mean
    expected = np.full(len(error), mean)
    found = np.zeros(table.shape[1])
    for _ in range(ROUNDS):
        weight = np.sqrt(count) / expected
        found = cast(np.ndarray, nnls(table * weight[:, None], error**2 * weight)[0])
        expected = np.maximum(table @ found, least)
    sizes = np.abs(error) / np.sqrt(expected)
    order = np.argsort(sizes, kind="stable")
    place = np.cumsum(count[order]) - count[order] / 2
    half = np.interp((np.arange(ATOMS // 2) + 0.5) / (ATOMS // 2), place / count.sum(), sizes[order])
    kept = _evenly(np.flatnonzero(there), MOST_KNOWN)
    process = FigureProcess.conditioned(compositions[kept], measured[kept], kernel, context=context)
    atoms = np.concatenate([-half[::-1], half])
    if len(left_out) > 1:
        afar, by_cause = foretold[1]
        reach = float(np.quantile(half, CONFIDENCE))
        found = found * np.where(
            OF_DISTANCE, _factor_of_distance(left_out[1].measured - afar, by_cause, found, reach), 1
        )
    seen = LeftOutForecast(*np.full((3, len(measured)), np.nan))
    singles, (expected, table) = left_out[0], foretold[0]
    seen.figure[singles.rows], seen.expected[singles.rows] = singles.said, expected
    seen.std[singles.rows] = np.sqrt(np.maximum(table @ found, least))
    return FigureForecast(process.on(device), Costs(*found.tolist()), least, usual, atoms, seen)


def _factor_of_distance(
    error: PerLeftOut, by_cause: Float[np.ndarray, "l 5"], costs: Float[np.ndarray, " 5"], reach: float
) -> float:
    """Return by how much the costs of distance have to be raised to hold what lay far from all that was known.

    Mean squares are right for the many that err little; of a region that is left out some err much more. It is the
    least factor, and no less than 1, with which the interval of `CONFIDENCE` holds as many of them.

    Args:
        error: Of what was left out with what lies near it.
        by_cause: What its squared error comes from.
        costs: What each cause costs.
        reach: Half the interval, in sizes of the error.
    """
    told = np.isfinite(error) & np.isfinite(by_cause).all(1)
    if told.sum() < FEWEST:
        return 1.0
    distance = by_cause[told][:, OF_DISTANCE] @ costs[OF_DISTANCE]
    rest = by_cause[told][:, ~OF_DISTANCE] @ costs[~OF_DISTANCE]
    asked = (np.square(error[told] / reach) - rest) / np.maximum(distance, 1e-12)
    return float(np.quantile(asked, CONFIDENCE).clip(1, MOST_RAISED))


def std_about(figure: Float[Tensor, " b"], members: Float[Tensor, "b m"]) -> Float[Tensor, " b"]:
    """Return the standard deviation of members' figures about another; NaN where fewer than two have one."""
    known = ~members.isnan()
    squares = (members - figure[:, None]).square().where(known, 0).sum(1)
    count = known.sum(1)
    return (squares / (count - 1).clamp(min=1)).sqrt().where(count > 1, torch.nan)


def _second_opinion(
    compositions: Compositions, measured: PerSample, part: LeftOutFigures, kernel: ProcessKernel, context: int
) -> tuple[PerLeftOut, PerLeftOut]:
    """Return what the process of the figure says of what was left out, with its variance, without having seen it."""
    opinion, variance = np.full(len(part.rows), np.nan), np.full(len(part.rows), np.nan)
    for group in np.unique(part.groups):
        mine = part.groups == group
        rest = np.isfinite(measured)
        rest[part.rows[mine]] = False
        if not rest.any():
            continue
        kept = _evenly(np.flatnonzero(rest), MOST_KNOWN)
        process = FigureProcess.conditioned(compositions[kept], measured[kept], kernel, context=context)
        found = process.at(torch.as_tensor(compositions[part.rows[mine]]))
        opinion[mine], variance[mine] = (values.numpy() for values in found)
    return opinion, variance


def _evenly(rows: Rows, most: int) -> Rows:
    """Return at most so many rows, spread evenly over all."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.intp)]

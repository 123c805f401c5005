"""How base models are stacked: folds, out-of-fold predictions, weights, spread, and the band that holds 90 %.

It knows the protocol of `base_model` only. Letters: n training spectra, e elements and columns of the context,
q points, v base models, b alloys of a block, d draws, s sources of a draw.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from scipy.spatial.distance import cdist  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from glassmap.agent.data.composition import distinct_alloys
from glassmap.agent.models.base_model import (
    FOLDS,
    BaseModel,
    Known,
    PredictedBlock,
    TrainedBaseModel,
    blocks_of,
    distances_to,
    on_cpu,
)
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.models.expected_error import ExpectedError, LeftOut
from glassmap.agent.models.figure_forecast import (
    FORECAST,
    FigureForecast,
    LeftOutFigures,
    Said,
    learn_forecast,
    std_about,
)
from glassmap.agent.models.protocol import stream_seed
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Axis, Compositions, Groups, Mask, PerPoint, PerSample, Rows, Spectra

Weights = Mapping[str, float]  # of base models by name; they sum to 1
REGIONS = (0.1, 0.2, 0.4, 0.6)  # share of the spectra that is left out at once, all that is nearest to one of them
CENTRES = 5  # of regions of each size
SCATTER = 8  # draws of every member that the aleatoric std is taken over
ROUGH = 1e-4  # share of the variance of measured spectra, in principal components that a generator's draws leave out


@dataclass(frozen=True, eq=False)
class StackedBlock:
    """What every base model predicts of a block of alloys, in the unit of the measured spectra."""

    predictions: dict[str, PredictedBlock]
    cautious: tuple[str, ...]
    """The base models that never go beyond what was measured."""
    nearest: Float[Tensor, "b q"]
    """The measured spectrum of the nearest alloy."""
    asked: Float[Tensor, "b e"]
    """The alloys, atomic fractions."""

    def mean(self, weights: Weights) -> Float[Tensor, "b q"]:
        """The weighted mean spectrum."""
        return self._weighted({name: block.mean for name, block in self.predictions.items()}, weights)

    def members(self) -> Float[Tensor, "b v q"]:
        """Every member of every base model, one by one."""
        return torch.cat([block.members for block in self.predictions.values()], dim=1)

    @property
    def unknown(self) -> Float[Tensor, " b"] | None:
        """How little is known there, 0 to 1: the most of what any base model says; None where none can tell."""
        said = [block.unknown for block in self.predictions.values() if block.unknown is not None]
        return torch.stack(said).amax(0) if said else None

    def epistemic_std(self, weights: Weights) -> Float[Tensor, "b q"]:
        """Standard deviation of all members; and, as far as a model is unsure, from the nearest measured spectrum.

        What is unlike anything measured nearby may be right, but nobody has seen it: where networks and process carry
        one phase too far, they agree with each other, and not with it (docs/results.md).
        """
        members = self.members()
        variance = members.var(1) if members.shape[1] > 1 else torch.zeros_like(members[:, 0])
        if (unknown := self.unknown) is not None:
            variance = variance + unknown[:, None] * (self.mean(weights) - self.nearest).square()
        return variance.sqrt()

    def spread(self, weights: Weights) -> Float[Tensor, " b"]:
        """Root mean square over the points of the epistemic std, in a tenth of its time."""
        members = self.members()
        squares = _size(members - members.mean(1, keepdim=True)).square()  # mean over members and points
        spread = squares * members.shape[1] / max(members.shape[1] - 1, 1)
        if (unknown := self.unknown) is not None:
            spread = spread + unknown * _size(self.mean(weights) - self.nearest).square()
        return spread.sqrt()

    def _shares(self, weights: Weights) -> dict[str, float | Tensor]:
        """Return how much each model counts for each alloy: what one doesn't know goes to those that are cautious."""
        if not self.cautious:
            return dict(weights)
        shares: dict[str, float | Tensor] = {}
        rest: float | Tensor = 1.0
        for name, block in self.predictions.items():
            if name not in self.cautious:
                known = 1.0 if block.unknown is None else 1 - block.unknown[:, None]
                shares[name] = weights[name] * known
                rest = rest - shares[name]
        total = sum(weights[name] for name in self.cautious)
        for name in self.cautious:
            shares[name] = rest * (weights[name] / total if total else 1 / len(self.cautious))
        return shares

    def _weighted(self, spectra: Mapping[str, Float[Tensor, "b q"]], weights: Weights) -> Float[Tensor, "b q"]:
        shares = self._shares(weights)
        parts = [shares[name] * part for name, part in spectra.items()]
        total = parts.pop()
        while parts:
            total = parts.pop() + total
        return total


class LeftOutBlocks(NamedTuple):
    """Spectra that were left out, and what is predicted of them by what had not seen them."""

    rows: Rows  # in the order of the blocks; a spectrum may be left out several times
    groups: Groups  # those that were left out together share a number
    blocks: list[StackedBlock]
    weights: Weights


class Evidence(NamedTuple):
    """All that was left out."""

    singles: LeftOutBlocks  # a fold at a time, of all base models; its weights are yet to be found
    regions: LeftOutBlocks | None  # all that is near to one of them, of the models that tell what they don't know
    wafers: LeftOutBlocks | None  # the same of a whole wafer; None where fewer than two are known


@dataclass(frozen=True, eq=False)
class Stack:
    """Trained base models, how much each counts, and how far off they are together."""

    models: dict[str, TrainedBaseModel]
    weights: Weights
    known: Known
    """What was learned from, in the models' unit: 0-100."""
    floor: float
    """Intensity of the lowest point learned from where it is negative, else 0."""
    scale: float
    """Intensity of the highest point above the floor, in hundreds; 1 for spectra normalised to 100."""
    oof_mse: float
    """Out-of-fold MSE: on each fold's spectra, of the models without it; NaN where nothing could be left out."""
    oof_rmse: PerPoint
    """Out-of-fold root mean squared error at each point of the axis; 0 where nothing could be left out."""
    conformal_quantile: float
    """Half-width of the band in expected sizes of the error, by folds alone; NaN where nothing could be left out."""
    expected_error: ExpectedError | None = None
    """None where nothing could be left out, no base model tells what it doesn't know, or the stack is older."""
    regional_quantile: float = math.nan
    """The same by folds, regions and wafers; NaN where none could be left out, and where the stack is older."""
    left_out: Spectra | None = None
    """Out-of-fold mean of each spectrum learned from, `(n, q)`, NaN where it was left out of none; None where nothing
    could be left out, and where the stack is older."""
    forecasts: Mapping[str, FigureForecast] | None = None
    """By figure, what a new measurement's is expected to be, without those of which too few were left out to say; None
    where the axis was no q or not told, nothing could be left out, and where the stack is older."""

    def predict_blocks(self, compositions: Compositions) -> Iterator[StackedBlock]:
        """Ask every base model, a block of alloys at a time, on the models' device."""
        cautious = tuple(name for name, model in self.models.items() if not model.extrapolates)
        for block in blocks_of(compositions, self.known.compositions.device):
            predictions = {
                name: model.predict_block(block).rescaled(self.floor, self.scale) for name, model in self.models.items()
            }
            yield StackedBlock(predictions, cautious, self.floor + self.scale * self._nearest(block), block)

    def draw(self, block: StackedBlock, count: int, stream: torch.Generator) -> Float[Tensor, "d b q"]:
        """Draw what measurements of a block of alloys may give, on the models' device.

        A draw is the mean spectrum and how far a measurement may lie from it, from one of two sources, each as often as
        the other: how far a draw of a generator lies from the mean of all generators, or how far a measured spectrum
        near that alloy lay from what was expected of it when it was left out. Of the former only that is kept in which
        measured spectra differ: what else networks make of noise is rough, as no spectrum is. The first alone is too
        narrow, the second knows no phases that nobody measured nearby (docs/results.md). Where there is neither,
        members stand for draws.

        Args:
            block: What is predicted.
            count: Of draws of each alloy.
            stream: On the CPU; decides every random number.
        """
        mean = block.mean(self.weights)
        sources: list[Float[Tensor, "d b q"]] = []
        for name, model in self.models.items():
            if (drawn := _draws(model, block.asked, count, stream)) is not None:
                sources.append(self._as_measured(self.floor + self.scale * drawn - block.predictions[name].mean))
        if (residuals := self._residuals) is not None:
            sources.append(_nearby(residuals, block.asked, count, stream))
        if not sources:
            away = (block.members() - mean[:, None]).transpose(0, 1)  # (v, b, q)
            sources.append(_one_of([away] * count, stream))
        draws = mean + _one_of([torch.stack(each) for each in zip(*sources, strict=True)], stream)
        return draws.clamp(self.floor, self.floor + 100 * self.scale)

    def aleatoric_std(self, block: StackedBlock) -> Float[Tensor, "b q"]:
        """Return the standard deviation over draws of a member, root mean square over members; 0 where none draws.

        As in `draw`, whatever the base models weigh. Noise is the same for all alloys, and at every call.
        """
        variances: list[Float[Tensor, "b q"]] = []
        for model in self.models.values():
            stream = torch.Generator().manual_seed(stream_seed(0, "scatter"))
            drawn = [model.draw_block(block.asked, stream, alike=True) for _ in range(SCATTER)]
            if draws := [each for each in drawn if each is not None]:
                variances.append(torch.stack(draws).var(0).mean(1))
        return self.scale * torch.stack(variances).mean(0).sqrt() if variances else torch.zeros_like(block.nearest)

    @cached_property
    def _components(self) -> Float[Tensor, "c q"]:
        """The principal components in which measured spectra differ, but for `ROUGH` of their variance."""
        centred = self.known.spectra - self.known.spectra.mean(0)
        _, sizes, components = cast(Any, torch.linalg).svd(centred, full_matrices=False)
        shares = sizes.square().cumsum(0)
        return components[: 1 + int((shares < (1 - ROUGH) * shares[-1]).sum())]

    def _as_measured(self, away: Float[Tensor, "d b q"]) -> Float[Tensor, "d b q"]:
        """Return of deviations from the mean what measured spectra show; all of it where few or none were left out."""
        return away if self.left_out is None else away @ self._components.T @ self._components

    @cached_property
    def _residuals(self) -> Known | None:
        """How far measured spectra lay from what was expected of them when they were left out, and of what."""
        if self.left_out is None:
            return None
        told = torch.as_tensor(~np.isnan(self.left_out[:, 0]), device=self.known.spectra.device)
        expected = torch.as_tensor(self.left_out, dtype=torch.float32, device=told.device)
        away = self.floor + self.scale * self.known.spectra - expected
        return Known(self.known.compositions[told], away[told])

    def band(self, block: StackedBlock, epistemic_std: Float[Tensor, "b q"]) -> Float[Tensor, "b q"]:
        """Return the half-width about the mean that is to hold 90 % of measured points.

        It is a multiple of the expected size of an error, which is the epistemic std and the root mean squared error
        that is expected of the whole spectrum, halved in its square and spread over the points as the out-of-fold RMSE
        is. The multiple is that which holds 90 % of left-out points, those of folds as many as those of regions and
        wafers. Stacks that are older, or can't say what error to expect, go by the out-of-fold RMSE and by folds.
        """
        if math.isnan(self.regional_quantile):
            half_rmse = torch.as_tensor(self.oof_rmse / 2, dtype=torch.float32, device=epistemic_std.device)
            return self.conformal_quantile * (epistemic_std.square() + half_rmse.square()).sqrt()
        shape = torch.as_tensor(_unit_size(self.oof_rmse), dtype=torch.float32, device=epistemic_std.device)
        expected = self.expect(block)[:, None] * shape
        return self.regional_quantile * (epistemic_std.square() + expected.square() / 2).sqrt()

    def expect(self, block: StackedBlock) -> Float[Tensor, " b"]:
        """Return the root mean squared error that is expected of a block's mean spectra; NaN where nobody can say."""
        unknown = block.unknown
        if self.expected_error is None or unknown is None:
            return torch.full((len(block.nearest),), torch.nan, device=block.nearest.device)
        return self.expected_error.at(block.spread(self.weights), unknown)

    def _nearest(self, compositions: Float[Tensor, "b e"]) -> Float[Tensor, "b q"]:
        if not len(self.known.compositions):  # read from a checkpoint of networks alone, which kept none
            return torch.zeros(len(compositions), self.known.spectra.shape[1], device=compositions.device)
        return self.known.spectra[distances_to(self.known.compositions, compositions).argmin(1)]


def fit_stack(
    base_models: Mapping[str, BaseModel],
    compositions: Compositions,
    spectra: Spectra,
    *,
    seed: int,
    device: torch.device,
    context: int = 0,
    wafers: Groups | None = None,
    q: Axis | None = None,
    report: Report = ignore,
) -> Stack:
    """Fit every base model, weigh them by what they predict of spectra that they have not seen, and size the band.

    Args:
        base_models: By name; one alone isn't weighed, and leaves nothing out.
        compositions: Atomic fractions, and the columns of a context, `(n, e)`.
        spectra: `(n, q)`, in any unit.
        seed: Decides every random number.
        device: Of the base models.
        context: How many of the columns are of the context. Folds and regions go by the shares alone: what one alloy
            is like by another process is not given away.
        wafers: Which wafer each spectrum is of, -1 where that isn't known; None where it is known of none.
        q: The axis of the spectra in 1/Å, by which figures of first peaks are foretold; None where it is no q.
        report: Is told how far training is.
    """
    floor = min(0.0, float(spectra.min()))
    scale = (float(spectra.max()) - floor) / 100 or 1.0  # 1 where every spectrum is 0
    scaled = (spectra - floor) / scale
    folds = (
        assign_folds(_shares(compositions, context), seed=seed)
        if len(base_models) > 1
        else np.full(len(compositions), -1)
    )
    trained = {
        name: model.fit(compositions, scaled, seed=seed, folds=folds, report=report)
        for name, model in base_models.items()
    }
    stack = Stack(
        trained,
        {name: 1 / len(trained) for name in trained},
        Known.of(compositions, scaled, device),
        floor,
        scale,
        oof_mse=math.nan,
        oof_rmse=np.zeros(len(spectra[0])),
        conformal_quantile=math.nan,
    )
    evidence = _leave_all_out(base_models, stack, compositions, scaled, seed, folds, context, wafers)
    if evidence is None:
        return stack
    stack = _size_band(_calibrate(stack, evidence, spectra), evidence, spectra)
    left_out = np.full(spectra.shape, np.nan)
    left_out[evidence.singles.rows] = on_cpu([block.mean(stack.weights) for block in evidence.singles.blocks])
    stack = replace(stack, left_out=left_out)
    return stack if q is None else _learn_forecasts(stack, evidence, q, context)


def with_forecasts(
    stack: Stack,
    base_models: Mapping[str, BaseModel],
    *,
    seed: int,
    q: Axis,
    context: int = 0,
    wafers: Groups | None = None,
) -> Stack:
    """Return an older stack that foretells figures, too, by leaving out again what it learned from; its band as well.

    Args:
        stack: As a checkpoint kept it.
        base_models: Those of which it was made.
        seed: With which it was fitted.
        q: The axis of its spectra in 1/Å.
        context: As of `fit_stack`.
        wafers: As of `fit_stack`.
    """
    compositions, scaled = stack.known.compositions.cpu().numpy(), on_cpu([stack.known.spectra])
    if len(base_models) < 2 or not len(compositions):
        return stack
    folds = assign_folds(_shares(compositions, context), seed=seed)
    evidence = _leave_all_out(base_models, stack, compositions, scaled, seed, folds, context, wafers)
    if evidence is None:
        return stack
    stack = _size_band(stack, evidence, stack.floor + stack.scale * scaled)
    return _learn_forecasts(stack, evidence, q, context)


def assign_folds(compositions: Compositions, *, seed: int) -> Groups:
    """Return the fold of each spectrum; -1 where there are too few alloys to leave any out.

    Spectra of one alloy share a fold: else what has not seen the one has seen the other. With the same seed, a
    spectrum keeps its fold when others are added after it.
    """
    _, first, alloy = distinct_alloys(compositions)
    n = len(first)
    if n < 2 * FOLDS:
        return np.full(len(compositions), -1)
    rng = np.random.default_rng(stream_seed(seed, "folds"))
    folds = np.concatenate([rng.permutation(FOLDS) for _ in range(-(-n // FOLDS))])[:n]
    return folds[np.argsort(np.argsort(first))][alloy]  # alloys in the order of their first spectrum


def fit_stacking_weights(predictions: Mapping[str, Spectra], truth: Spectra) -> dict[str, float]:
    """Return the weights, none negative, sum 1, with which several predictions together come nearest to the truth.

    Least squares, so the measure is the MSE; weights by the scale-free MSE gain nothing (docs/results.md). A spectrum
    counts the less the farther all are off, by the root of its mean squared error: else the few that nobody foresees,
    of a phase that was never seen, would decide for all others.

    Args:
        predictions: By base model, each `(n, q)`.
        truth: `(n, q)`.
    """
    errors = np.stack(list(predictions.values())) - truth  # (v, n, q)
    size = np.sqrt(np.square(errors).mean((0, 2)))  # (n,)
    errors = errors / np.sqrt(np.where(size > 0, size, 1))[:, None]
    products = np.einsum("vnq,wnq->vw", errors, errors)
    values, vectors = np.linalg.eigh(products)
    roots = np.sqrt(values.clip(0))[:, None] * vectors.T  # |roots @ w|² is the error of weights w
    heavy = 1e3 * max(np.sqrt(np.trace(products)), 1e-9)  # holds the sum at 1
    n = len(predictions)
    weights = cast(np.ndarray, nnls(np.vstack([roots, np.full(n, heavy)]), np.append(np.zeros(n), heavy))[0])
    return dict(zip(predictions, (weights / weights.sum()).tolist(), strict=True))


def _leave_all_out(
    base_models: Mapping[str, BaseModel],
    stack: Stack,
    compositions: Compositions,
    scaled: Spectra,
    seed: int,
    folds: Groups,
    context: int,
    wafers: Groups | None,
) -> Evidence | None:
    """Leave out folds, regions and wafers; None where nothing can be left out."""
    masks = [folds == fold for fold in range(FOLDS) if (folds == fold).any()]
    singles = _leave_each_out(base_models, stack, compositions, scaled, seed, masks) if masks else None
    if singles is None:
        return None
    telling = {
        name: model
        for name, model in base_models.items()
        if stack.models[name].predict_block(stack.known.compositions[:1]).unknown is not None
    }
    if not telling:
        return Evidence(singles, None, None)
    shares = _shares(compositions, context)
    regions = _leave_each_out(telling, stack, compositions, scaled, seed, _regions(shares, seed))
    of_wafers = None if wafers is None else [wafers == wafer for wafer in np.unique(wafers[wafers >= 0])]
    if of_wafers is None or len(of_wafers) < 2:
        return Evidence(singles, regions, None)
    return Evidence(singles, regions, _leave_each_out(telling, stack, compositions, scaled, seed, of_wafers))


def _leave_each_out(
    base_models: Mapping[str, BaseModel],
    stack: Stack,
    compositions: Compositions,
    scaled: Spectra,
    seed: int,
    masks: Sequence[Mask],
) -> LeftOutBlocks | None:
    """Return what the stack without each group of spectra predicts of it; None where there is none.

    A group of which one of the models has seen all is passed over.

    Args:
        base_models: Those to do it with, which count alike.
        stack: Of them, and maybe others.
        compositions: As of `fit_stack`.
        scaled: Spectra in the models' unit.
        seed: As of `fit_stack`.
        masks: Which spectra make up each group; fold k where they are folds.
    """
    rows: list[Rows] = []
    blocks: list[StackedBlock] = []
    for number, mask in enumerate(masks):
        models: dict[str, TrainedBaseModel] = {}
        for name, model in base_models.items():
            folds = np.where(mask, number, -1)
            left = model.leave_out(number, stack.models[name], compositions, scaled, seed=seed, folds=folds)
            if left is not None:
                models[name] = left
        if len(models) < len(base_models):
            continue
        known = Known.of(compositions[~mask], scaled[~mask], stack.known.compositions.device)
        blocks += replace(stack, models=models, known=known).predict_blocks(compositions[mask])
        rows.append(np.flatnonzero(mask))
    if not rows:
        return None
    groups = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
    return LeftOutBlocks(np.concatenate(rows), groups, blocks, dict.fromkeys(base_models, 1 / len(base_models)))


def _regions(shares: Compositions, seed: int) -> list[Mask]:
    """Return which spectra are left out at once: all that is nearest to one, `REGIONS` of the whole round each."""
    centres = np.random.default_rng(stream_seed(seed, "regions")).permutation(len(shares))[:CENTRES]
    masks: list[Mask] = []
    for distances, share in product(cdist(shares[centres], shares), REGIONS):
        reach = np.sort(distances)[max(1, round(share * len(distances))) - 1]
        masks.append(distances <= reach)
    return [mask for mask in masks if not mask.all()]


def _calibrate(stack: Stack, evidence: Evidence, spectra: Spectra) -> Stack:
    """Weigh the base models by their out-of-fold predictions, size the band, and learn what error to expect where.

    The band is in the manner of conformal prediction (Lei et al., J. Am. Stat. Assoc. 113, 1094, 2018): the 90 %
    quantile of residual over expected size (`Stack.band`). Weights and band come from the same residuals, so what it
    really holds is measured (docs/results.md). All of it is of intensities as they are scaled: the MSE's measure.
    """

    predicted, truth = evidence.singles.blocks, spectra[evidence.singles.rows]

    def mean(weights: Weights) -> Spectra:
        return on_cpu([block.mean(weights) for block in predicted])

    names = list(stack.models)
    alone = {name: mean({other: float(other == name) for other in names}) for name in names}
    weights = fit_stacking_weights(alone, truth)
    residuals = mean(weights) - truth
    rmse = np.sqrt(np.square(residuals).mean(0))
    epistemic = on_cpu([block.epistemic_std(weights) for block in predicted])
    expected = np.sqrt(np.square(epistemic) + np.square(rmse / 2))
    return replace(
        stack,
        weights=weights,
        oof_mse=float(np.square(residuals).mean()),
        oof_rmse=rmse,
        conformal_quantile=float(np.quantile(np.abs(residuals) / np.maximum(expected, 1e-9), CONFIDENCE)),
        expected_error=None
        if evidence.regions is None
        else ExpectedError.learned_from(
            LeftOut(np.square(residuals).mean(1), _unknown(predicted)),
            _errors_of(evidence.regions, spectra),
            spreads=on_cpu([block.spread(weights) for block in predicted]),
            guess=float(truth.var(0).mean()),
        ),
    )


def _size_band(stack: Stack, evidence: Evidence, spectra: Spectra) -> Stack:
    """Find the multiple of the expected size of an error that holds 90 % of left-out points."""
    if stack.expected_error is None:
        return stack
    ratios: list[np.ndarray] = []
    for part in (evidence.singles._replace(weights=stack.weights), evidence.regions, evidence.wafers):
        if part is None:
            continue
        unit = replace(stack, weights=part.weights, regional_quantile=1.0)
        mean = on_cpu([block.mean(part.weights) for block in part.blocks])
        expected = on_cpu([unit.band(block, block.epistemic_std(part.weights)) for block in part.blocks])
        ratios.append((np.abs(mean - spectra[part.rows]) / np.maximum(expected, 1e-9)).ravel())
    return replace(stack, regional_quantile=_quantile_of_kinds(ratios, CONFIDENCE))


def _quantile_of_kinds(kinds: Sequence[np.ndarray], level: float) -> float:
    """Return the value below which a share of values lies; the first kind counts as much as all others together."""
    values = np.concatenate(kinds)
    shares = [1.0, *[1 / (len(kinds) - 1)] * (len(kinds) - 1)] if len(kinds) > 1 else [1.0]
    count = np.concatenate([np.full(len(kind), share / len(kind)) for kind, share in zip(kinds, shares, strict=True)])
    order = np.argsort(values, kind="stable")
    total = np.cumsum(count[order])
    place = np.count_nonzero(total < level * total[-1])
    return float(values[order[min(place, len(values) - 1)]])


def _unit_size(rmse: PerPoint) -> PerPoint:
    """Return how errors are spread over the points, as their sizes in those of a whole spectrum."""
    return rmse / max(float(np.sqrt(np.square(rmse).mean())), 1e-12)


def _errors_of(left_out: LeftOutBlocks, spectra: Spectra) -> LeftOut:
    """Return how far off spectra are that were left out, and how little was known of them."""
    mean = on_cpu([block.mean(left_out.weights) for block in left_out.blocks])
    return LeftOut(np.square(mean - spectra[left_out.rows]).mean(1), _unknown(left_out.blocks))


def _learn_forecasts(stack: Stack, evidence: Evidence, q: Axis, context: int) -> Stack:
    """Learn how far figures of left-out spectra lie from what is said of them."""
    known = stack.known
    measured = measure_peaks(q, stack.floor + stack.scale * known.spectra).figures
    parts = [evidence.singles._replace(weights=stack.weights), evidence.regions, evidence.wafers]
    left_out = [_figures_of(part, q, measured) for part in parts if part is not None]
    compositions = known.compositions.cpu().numpy()
    forecasts = {
        figure.name: learn_forecast(
            compositions,
            on_cpu([measured[figure.name]]),
            [part[figure.name] for part in left_out],
            context=context,
            device=known.compositions.device,
        )
        for figure in FORECAST
    }
    return replace(stack, forecasts={name: one for name, one in forecasts.items() if one is not None})


def _figures_of(left_out: LeftOutBlocks, q: Axis, measured: Mapping[str, Tensor]) -> dict[str, LeftOutFigures]:
    """Return by its name each figure of spectra that were left out."""
    said = [what_is_said(block, left_out.weights, q) for block in left_out.blocks]
    return {
        figure.name: LeftOutFigures(
            left_out.rows,
            left_out.groups,
            on_cpu([measured[figure.name]])[left_out.rows],
            *(on_cpu([getattr(one[figure.name], part) for one in said]) for part in ("figure", "spread", "unknown")),
        )
        for figure in FORECAST
    }


def what_is_said(block: StackedBlock, weights: Weights, q: Axis) -> dict[str, Said]:
    """Return by its name each figure that is foretold, as a block's mean spectra and members have it."""
    mean, members, unknown = block.mean(weights), block.members(), block.unknown
    found = measure_peaks(q, torch.cat([mean[:, None], members], dim=1).flatten(0, 1)).figures
    if unknown is None:
        unknown = torch.zeros(len(mean), device=mean.device)
    said: dict[str, Said] = {}
    for figure in FORECAST:
        of_mean, of_members = found[figure.name].view(len(mean), -1).tensor_split([1], dim=1)
        of_mean = of_mean[:, 0]
        said[figure.name] = Said(block.asked, of_mean, std_about(of_mean, of_members), unknown)
    return said


def _shares(compositions: Compositions, context: int) -> np.ndarray:
    """Return the atomic fractions, without the columns of a context behind them."""
    return compositions[:, : compositions.shape[1] - context]


def _draws(
    model: TrainedBaseModel, compositions: Float[Tensor, "b e"], count: int, stream: torch.Generator
) -> Float[Tensor, "d b q"] | None:
    """Draw of a model with every alloy's and draw's own member and noise; None where it knows means only."""
    drawn: list[Float[Tensor, "1 b q"]] = []
    for _ in range(count):
        if (members := model.draw_block(compositions, stream)) is None:
            return None
        drawn.append(_one_of([members.transpose(0, 1)], stream))
    return torch.cat(drawn)


def _nearby(
    residuals: Known, compositions: Float[Tensor, "b e"], count: int, stream: torch.Generator
) -> Float[Tensor, "d b q"]:
    """Draw residuals for alloys: the nearest, the next and so on as often as one over their places in that order."""
    order = distances_to(residuals.compositions, compositions).argsort(1)  # (b, n)
    chances = 1 / torch.arange(1, order.shape[1] + 1)
    places = torch.multinomial(chances, count * len(order), replacement=True, generator=stream)
    rows = order.gather(1, places.view(len(order), count).to(order.device))
    return residuals.spectra[rows.T]


def _one_of(draws: Sequence[Float[Tensor, "s b q"]], stream: torch.Generator) -> Float[Tensor, "d b q"]:
    """Return of each draw one of its sources for every alloy, each as likely as the other."""
    s, b = draws[0].shape[:2]
    chosen = torch.randint(s, (len(draws), b), generator=stream).to(draws[0].device)
    alloys = torch.arange(b, device=chosen.device)
    return torch.stack([each[source, alloys] for each, source in zip(draws, chosen, strict=True)])


def _size(values: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Return the root mean square of each alloy's values."""
    length = cast(Tensor, cast(Any, torch.linalg).vector_norm(values.flatten(1), dim=1))
    return length / math.sqrt(math.prod(values.shape[1:]))


def _unknown(blocks: list[StackedBlock]) -> PerSample:
    return on_cpu([block.unknown for block in blocks if block.unknown is not None])

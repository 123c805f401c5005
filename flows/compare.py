"""Which model is best on a data set, and how many of its spectra would have done: ours beside the baselines.

Every model learns from the same spectra and is tested on the same others, several times over; a figure that several
splits don't agree on is said to be none. Two controls stand beside them: the mean spectrum, and our ensemble without
its networks.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.context import Context, Encoding
from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.models.base_models import ALONE, BASE_MODELS, Setup
from glassmap.agent.models.baselines import BASELINES
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, EnsemblePrediction, TrainedEnsemble, resolve_device
from glassmap.agent.models.stacking import fit_stack
from glassmap.agent.peaks.batched import errors_by_spectrum
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Spectra
from glassmap.flows.backends.replay import split

OURS = "ensemble"
CONTROL = "without-networks"  # our ensemble without its networks: what is left is what they are worth
SIZES = (20, 40, 80, 160)  # spectra learned from
SEEDS = (0, 1, 2)
TEST_SHARE = 0.3  # of the samples, never learned from; the paper's
NEAR = 0.1  # share of an MSE that more spectra must take off it to be worth them

Errors = dict[str, float | None]  # by the names of `MEASURES`; None where it can be said of no spectrum


class Judged(NamedTuple):
    """How one model did on the test set, after it learned from some spectra."""

    n: int  # spectra learned from
    seed: int  # of the split
    model: str
    errors: Errors

    @property
    def mse(self) -> float:
        """The test MSE, intensities 0-100 squared; of g(r), that of g(r) itself."""
        mse = self.errors["mse"]
        assert mse is not None, "every spectrum has one"
        return mse


class Ranked(NamedTuple):
    """A model's test MSE over the splits: median, lowest and highest by the number of spectra learned from."""

    model: str
    mse: dict[int, tuple[float, float, float]]
    errors: Errors  # medians at the largest number


def read_prepared(path: Path, *, variable: str = "intensity", where: str | None = None) -> SpectraSet:
    """Read a data set as it is learned, of the samples for which `where` holds."""
    spectra = read_dataset(path, variable=variable)
    return (spectra.where(where) if where else spectra).prepared()


def draw_split(spectra: SpectraSet, kind: str, *, n: int, seed: int) -> tuple[SpectraSet, SpectraSet]:
    """Return `n` samples to learn from, drawn at random outside the test set, and the test set.

    Args:
        spectra: The data set, prepared.
        kind: `random` or `wafer`; see `glassmap.flows.backends.replay.split`.
        n: At most so many to learn from.
        seed: Of the split and the draw; a smaller draw is the beginning of a larger one.
    """
    held = split(spectra, kind, share=TEST_SHARE, seed=seed)
    drawn = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(~held))[:n]
    return spectra.select(drawn), spectra.select(held)


def compare_models(
    spectra: SpectraSet,
    *,
    sizes: Sequence[int] = SIZES,
    seeds: Sequence[int] = SEEDS,
    kind: str = "random",
    config: TrainingConfig = PRESETS["default"],
    report: Report = ignore,
) -> Iterator[Judged]:
    """Yield how every model does, one by one: each seed's split, every size; the baselines, the control, our ensemble.

    Args:
        spectra: The data set, prepared.
        sizes: Numbers of spectra to learn from; larger than there are, all are taken, once.
        seeds: Each gives its own split, draw and networks.
        kind: As of `draw_split`.
        config: Of our ensemble.
        report: Is told how many splits are done.

    Raises:
        DatasetError: If a split leaves no sample to learn from, or none to test on.
        CampaignError: If wafers are asked for and the data set names fewer than two.
    """
    splits = {seed: draw_split(spectra, kind, n=len(spectra), seed=seed) for seed in seeds}
    there = min(len(learn) for learn, _ in splits.values())
    work = [(seed, n) for seed in seeds for n in sorted({min(n, there) for n in sizes})]
    report("compare", 0, len(work))
    for done, (seed, n) in enumerate(work, start=1):
        learn, test = splits[seed][0].select(np.arange(n)), splits[seed][1]
        for model, errors in judge_baselines(learn, test):
            yield Judged(n, seed, model, errors)
        control = fit_without_networks(learn, seed=seed, config=config).predict(test.compositions)
        yield Judged(n, seed, CONTROL, errors_of(control.mean, test))
        _, predicted = fit_ensemble(learn, test, seed=seed, config=config)
        yield Judged(n, seed, OURS, errors_of(predicted.mean, test))
        report("compare", done, len(work), f"{n} spectra")


def judge_baselines(learn: SpectraSet, test: SpectraSet) -> Iterator[tuple[str, Errors]]:
    """Yield name and errors of every baseline."""
    for name, baseline in BASELINES.items():
        model = baseline().fit(learn.compositions, learn.intensities.astype(np.float64), seed=0)
        yield name, errors_of(model.predict(test.compositions).mean, test)


def fit_ensemble(
    learn: SpectraSet, test: SpectraSet, *, seed: int, config: TrainingConfig
) -> tuple[TrainedEnsemble, EnsemblePrediction]:
    """Return our ensemble, trained on some samples, and what it predicts of others."""
    ensemble = Ensemble(config, seed=seed).fit(learn.compositions, learn.intensities.astype(np.float64))
    return ensemble, ensemble.predict(test.compositions)


def fit_without_networks(
    learn: SpectraSet, *, seed: int, config: TrainingConfig, context: Context | None = None
) -> TrainedEnsemble:
    """Return the ensemble that the base models other than the networks make, stacked as ours is; some seconds."""
    encoding = None if context is None else Encoding.learned_from(context)
    setup = Setup(config, resolve_device("cpu"), context=0 if encoding is None else encoding.width)
    models = {name: make(setup) for name, make in BASE_MODELS.items() if name not in ALONE}
    inputs = learn.compositions
    if encoding is not None and context is not None:
        inputs = encoding.beside(inputs, context.columns)
    spectra = learn.intensities.astype(np.float64)
    q = q_axis(learn.axis_name, learn.axis, learn.wavelength)
    stack = fit_stack(models, inputs, spectra, seed=seed, device=setup.device, context=setup.context, q=q)
    return TrainedEnsemble(config, seed, stack, context=encoding)


def errors_of(generated: Spectra, test: SpectraSet) -> Errors:
    """Return the mean of each measure of `MEASURES` over the test spectra of which it can be said."""
    q = q_axis(test.axis_name, test.axis, test.wavelength)
    errors = errors_by_spectrum(generated, test.intensities, q=q)
    return {name: None if np.isnan(each).all() else float(np.nanmean(each)) for name, each in errors.items()}


def mse_by_size(judged: Sequence[Judged]) -> dict[str, dict[int, list[float]]]:
    """Return every model's MSE on each split, in the order of the seeds, by the number of spectra learned from."""
    found: dict[str, dict[int, list[float]]] = {}
    for one in sorted(judged, key=lambda one: (one.n, one.seed)):
        found.setdefault(one.model, {}).setdefault(one.n, []).append(one.mse)
    return found


def rank_models(judged: Sequence[Judged]) -> list[Ranked]:
    """Return every model's figures over the splits, the lowest median MSE at the largest number of spectra first."""
    largest = max(one.n for one in judged)
    ranking = list[Ranked]()
    for model, by_size in mse_by_size(judged).items():
        last = [one.errors for one in judged if (one.model, one.n) == (model, largest)]
        mse = {n: (float(np.median(values)), min(values), max(values)) for n, values in by_size.items()}
        ranking.append(Ranked(model, mse, {name: _median([errors[name] for errors in last]) for name in last[0]}))
    return sorted(ranking, key=lambda ranked: ranked.mse[largest][0])


def say_what_holds(judged: Sequence[Judged]) -> list[str]:
    """Return what the comparison says, in sentences, and where it can't tell."""
    best, *others = rank_models(judged)
    largest = max(best.mse)
    median, low, high = best.mse[largest]
    words = [f"After {largest} spectra {best.model} has the lowest test MSE: {median:.3g} ({low:.3g} to {high:.3g})."]
    by_split = {model: by_size[largest] for model, by_size in mse_by_size(judged).items()}
    lead = by_split[best.model]
    rivals = [o.model for o in others if any(m < b for m, b in zip(by_split[o.model], lead, strict=True))]
    if len(lead) == 1:
        words.append("That is one split; which model is better takes several to tell (`--seeds 3`).")
    elif rivals:
        words.append(
            f"It is not ahead on every split: {_and(rivals)} {'does' if len(rivals) == 1 else 'do'} better on some of "
            f"the {len(lead)}, so these data can't tell which is best."
        )
    else:
        words.append(f"It is ahead of every other on each of the {len(lead)} splits.")
    return [*words, *_say_what_networks_are_worth(by_split), *_say_how_many(best.mse, best.model)]


def _say_what_networks_are_worth(by_split: Mapping[str, Sequence[float]]) -> list[str]:
    """Say what our ensemble gains by its networks: its MSE against that of the control, split by split."""
    if OURS not in by_split or CONTROL not in by_split:
        return []
    ratios = np.array(by_split[OURS]) / np.array(by_split[CONTROL])
    ratio, better = float(np.exp(np.log(ratios).mean())), int((ratios < 1).sum())
    splits = f"(better on {better} of {len(ratios)} split{'s' * (len(ratios) > 1)})"
    if ratio < 1:
        return [f"Its networks make our ensemble's MSE {1 - ratio:.0%} lower than without them {splits}."]
    return [
        f"Without its networks our ensemble does as well or better: they change its MSE by {ratio - 1:+.0%} {splits}."
    ]


def _say_how_many(mse: Mapping[int, tuple[float, float, float]], model: str) -> list[str]:
    """Say how many spectra would have done for a model."""
    if len(mse) == 1:
        return []
    *_, before, largest = sorted(mse)
    enough = next(n for n in sorted(mse) if 1 - mse[largest][0] / mse[n][0] <= NEAR)
    if enough < largest:
        return [
            f"{enough} spectra would do for {model}: {largest} make its MSE less than {NEAR:.0%} lower "
            f"({mse[enough][0]:.3g} and {mse[largest][0]:.3g})."
        ]
    gain = 1 - mse[largest][0] / mse[before][0]
    return [
        f"More spectra would still help {model}: from {before} to {largest} its MSE fell by {gain:.0%}, from "
        f"{mse[before][0]:.3g} to {mse[largest][0]:.3g}."
    ]


def _median(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

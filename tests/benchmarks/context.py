"""What telling a model a process variable is worth: the same draws with it and without, and fair controls beside."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassmap.agent.data.context import Columns, Context, rows_of
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.maps.glass import GLASS_DELTA_Q
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import PerSample, Rows, Spectra
from glassmap.flows.compare import errors_of, fit_without_networks, read_prepared
from tests.benchmarks.spectra import draw_split, learning_size

ALONE, TOLD, APART, PLACEBO = "composition alone", "told", "a model a value", "told labels drawn at random"


def run(
    datasets: Sequence[Path],
    *,
    variable: str,
    n: int | None = None,
    splits: Sequence[str] = ("random", "wafer"),
    seeds: Sequence[int] = tuple(range(10)),
    networks: bool = True,
    config: TrainingConfig = PRESETS["default"],
    where: str | None = None,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, split, seed and model: errors on the test set, and the share called glass or not rightly.

    The models are the same stack by composition alone; told the variable of each spectrum; one fitted for each value
    on its spectra alone; and told labels that were drawn at random, as often as the true ones. Asked of a test
    spectrum, each is told what it was told of those it learned from. A value with fewer than two spectra is left out
    of the test.

    Args:
        datasets: NetCDF files.
        variable: A coordinate of the samples, labels or numbers.
        n: As of `spectra`.
        splits: As of `spectra`.
        seeds: Each gives its own split and draw.
        networks: Whether the stack has them; without, a fit takes seconds.
        config: Of the ensemble.
        where: Keeps the samples for which this coordinate holds.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for path in datasets:
        spectra = read_prepared(path, where=where)
        for kind in splits:
            for seed in seeds:
                learn, test = draw_split(spectra, kind, n=n or learning_size(path), seed=seed)
                for model, figures in judge(
                    learn, test, variable=variable, seed=seed, networks=networks, config=config
                ):
                    record = {"dataset": path.stem, "split": kind, "n": len(learn), "seed": seed, "variable": variable}
                    records.append(record | {"networks": networks, "model": model} | figures)
                    on_record(records[-1])
    return records


def judge(
    learn: SpectraSet, test: SpectraSet, *, variable: str, seed: int, networks: bool, config: TrainingConfig
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and figures of each model."""
    first = learn.coordinates[variable][0]
    held = {variable: float(first) if learn.coordinates[variable].dtype.kind in "iuf" else str(first)}
    learn, columns = learn.with_context(held)
    values = columns[variable]
    asked = np.asarray(test.coordinates[variable]).astype(values.dtype)

    def fit(rows: Rows, told: Columns | None) -> TrainedEnsemble:
        context = None if told is None else Context(told, {variable: told[variable][0].item()})
        chosen = learn.select(rows)
        if not networks:
            return fit_without_networks(chosen, seed=seed, config=config, context=context)
        spectra = chosen.intensities.astype(np.float64)
        return Ensemble(config, seed=seed, device="cpu").fit(chosen.compositions, spectra, context=context)

    everything = np.arange(len(learn))
    by_value = {value: np.flatnonzero(values == value) for value in np.unique(values)}
    enough = np.isin(asked, [value for value, rows in by_value.items() if len(rows) > 1])
    test, asked = test.select(enough), asked[enough]
    yield ALONE, figures_of(fit(everything, None).predict(test.compositions).mean, test)
    told = fit(everything, columns)
    found = figures_of(told.predict(test.compositions, context={variable: asked}).mean, test)
    kernel = getattr(told.stack.models["gaussian_process"], "kernel", None)
    yield TOLD, found | {"weight": getattr(kernel, "context", None)}
    if values.dtype.kind == "U":
        mean = np.empty(test.intensities.shape)
        for value, rows in by_value.items():
            if (mine := asked == value).any():
                mean[mine] = fit(rows, None).predict(test.compositions[mine]).mean
        yield APART, figures_of(mean, test)
    rng = np.random.default_rng([seed, 2])
    drawn, of_test = rows_of(columns, rng.permutation(len(values))), rng.permutation(len(asked))
    mean = fit(everything, drawn).predict(test.compositions, context={variable: asked[of_test]}).mean
    yield PLACEBO, figures_of(mean, test)


def figures_of(mean: Spectra, test: SpectraSet) -> dict[str, Any]:
    """Return errors, and `right`: the share of those with a peak that lie on the right side of the glass boundary."""
    q = q_axis(test.axis_name, test.axis, test.wavelength)
    if q is None:
        return dict(errors_of(mean, test))
    ours, theirs = (_widths(q, spectra) for spectra in (mean, test.intensities.astype(np.float64)))
    both = np.isfinite(ours) & np.isfinite(theirs)
    right = (ours[both] >= GLASS_DELTA_Q) == (theirs[both] >= GLASS_DELTA_Q)
    return errors_of(mean, test) | {"right": float(right.mean()) if both.any() else None}


def _widths(q: np.ndarray, spectra: Spectra) -> PerSample:
    return measure_peaks(q, torch.from_numpy(np.ascontiguousarray(spectra))).figures[DELTA_Q.name].numpy()

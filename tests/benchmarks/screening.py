"""What screening finds of the points that a data set's authors left out, and what that is worth to the model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.outliers import screen
from glassmap.agent.data.spectrum import mean_squared_error, q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.shapes import Mask
from glassmap.flows.backends.replay import counts_of, split

BATCH = 20  # spectra that come together


def run(
    dataset: Path,
    *,
    sizes: Sequence[int] = (50, 100),
    seeds: Sequence[int] = (0, 1, 2),
    config: TrainingConfig = PRESETS["default"],
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a number of spectra and seed: recall and precision of the flags, and the test MSE learned from what.

    Spectra drawn at random come in batches, each screened against those before; `all` learns from every one, `screened`
    from those that weren't flagged, `cleaned` from those that the authors kept. All are judged by the samples of the
    30 % held out that the authors kept; `..._everything` by all that are held out.

    Raises:
        DatasetError: If the data set doesn't say which samples its authors kept (`cleaned`).
    """
    raw = read_dataset(dataset)
    if "cleaned" not in raw.coordinates:
        raise DatasetError(f"{dataset} doesn't say which samples are good; it needs a yes/no extra `cleaned`.")
    spectra, counts = raw.prepared(), counts_of(raw)
    cleaned = np.asarray(raw.coordinates["cleaned"], dtype=bool)
    records = []
    for n in sizes:
        for seed in seeds:
            held = split(spectra, "random", share=0.3, seed=seed)
            drawn = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(~held))[:n]
            flagged = _screen_in_batches(spectra.select(drawn), counts[drawn])
            bad = ~cleaned[drawn]
            record: dict[str, Any] = {
                "dataset": dataset.stem,
                "n": n,
                "seed": seed,
                "bad": int(bad.sum()),
                "flagged": int(flagged.sum()),
                "found": int((bad & flagged).sum()),
            }
            everything, test = spectra.select(held), spectra.select(held & cleaned)
            for name, kept in (("all", bad | ~bad), ("screened", ~flagged), ("cleaned", ~bad)):
                learn = spectra.select(drawn[kept])
                ensemble = Ensemble(config, seed=seed).fit(learn.compositions, learn.intensities.astype(np.float64))
                for what, judge in (("", test), ("_everything", everything)):
                    record[f"mse_{name}{what}"] = mean_squared_error(
                        ensemble.predict(judge.compositions).mean, judge.intensities
                    )
            records.append(record)
            on_record(record)
    return records


def _screen_in_batches(spectra: SpectraSet, counts: np.ndarray) -> Mask:
    """Which were flagged, as a campaign would have: each batch against what was used before, and itself."""
    q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
    assert q is not None, "diffraction, not g(r)"
    flagged = np.zeros(len(spectra), dtype=bool)
    for start in range(0, len(spectra), BATCH):
        end = min(start + BATCH, len(spectra))
        rows = np.flatnonzero(~flagged[:end])
        reasons = screen(
            q,
            spectra.compositions[rows],
            spectra.intensities[rows].astype(np.float64),
            counts=counts[rows],
            new=rows >= start,
        )
        flagged[rows] |= np.array([bool(reason) for reason in reasons])
    return flagged

"""Everything that wants a GPU, in one call of minutes; the most important first.

    python -m tests.benchmarks.gpu [--seconds 430] [--tiny]

A line of JSON a figure, as it goes, so that a run that is cut has told what it knew; a part that fails says how, and
the next goes on. Each part has its share of the time and stops when that is spent. The shared synchrotron sets are
found by `GLASSMAP_SHARED_DATA`. `--tiny` goes the same way with next to no work, without a GPU: it tells nothing but
that the way is free.
"""

import argparse
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.maps.peak_map import PeakMap
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.models import layers, network_ensemble, networks
from glassmap.agent.models.base_model import TrainedBaseModel, distances_to, on_cpu
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Spectra
from glassmap.flows.compare import draw_split, errors_of, read_prepared
from tests.benchmarks import generative, speed
from tests.benchmarks.controls import EnsembleForecast
from tests.benchmarks.spectra import PAPER_SIZES
from tests.benchmarks.work import count

POINTS, PAPER_POINTS = 800, 3743  # of made-up spectra; the paper's have so many
SIZES = (10, 160, 40, 20, 80)  # of the learning curve, the ends first
BLOCKS = (256, 3328, 16384, 65536)  # spectra whose peaks are measured at once
TINY = {"steps": 2, "members": 2, "batch_size": 4, "stacked": False}
DRAWS = 5  # with every member, whose errors are told by their median
SECONDS = 1.0  # that each rate is measured for
GRID = 5  # at.%, of the map that is made on both devices


@dataclass(frozen=True)
class Run:
    """What is run, and for how long at most."""

    device: str
    seconds: float
    tiny: bool

    def config(self, preset: str, *, steps: int | None = None, members: int | None = None) -> TrainingConfig:
        """Return a preset's settings, changed where that is said; next to no work where it is tiny."""
        changes = {"steps": steps, "members": members} | (TINY if self.tiny else {})
        return PRESETS[preset].model_copy(update={name: value for name, value in changes.items() if value is not None})

    def few(self, many: int, tiny: int) -> int:
        """Return a number, or a small one where it is tiny."""
        return tiny if self.tiny else many

    def while_time(self, cases: Iterator[Any]) -> Iterator[Any]:
        """Yield cases until this part's time is spent."""
        start = time.perf_counter()
        for case in cases:
            if time.perf_counter() - start > self.seconds:
                return
            yield case


def show(what: str, **figures: Any) -> None:
    """Print a figure."""
    print(json.dumps({"what": what, **figures}), flush=True)


def learn_published(run: Run) -> None:
    """The published network by the published terms: one generated spectrum and the mean of members, draw by draw."""
    for seed, (name, spectra) in run.while_time(product(range(run.few(5, 1)), _sets().items())):
        show("published", **_judged(run, "paper", name, spectra, n=PAPER_SIZES.get(name, 60), seed=seed))


def learn_from_few_and_many(run: Run) -> None:
    """The learning curve of the published network, beside Fig. 4 of Xie et al.; then of ours for a GPU."""
    cases = product(("paper", "large"), range(run.few(3, 1)), SIZES[: run.few(5, 1)], _sets().items())
    for preset, seed, n, (name, spectra) in run.while_time(cases):
        show("curve", **_judged(run, preset, name, spectra, n=n, seed=seed))


def make_maps(run: Run) -> None:
    """Seconds of whole maps, peaks and spread included; of a large one some shards are timed and the rest scaled up."""
    cases = (
        *product((3, 4), (("paper", PAPER_POINTS), ("large", POINTS), ("compact", POINTS))),
        *product((5,), (("paper", PAPER_POINTS), ("large", POINTS), ("compact", POINTS))),
        *product((4, 5), (("large", PAPER_POINTS),)),
    )
    for elements, (preset, points) in run.while_time(iter(cases[: run.few(len(cases), 1)])):
        config, points = run.config(preset, steps=speed.FIT_STEPS), run.few(points, 128)
        elements = run.few(elements, 2)
        figures = speed.time_map(elements, config, points, run.device, run.seconds / len(cases))
        show("map", preset=preset, members=config.members, points=points, elements=elements, **figures)


def learn_together(run: Run) -> None:
    """Training steps a second of members together and in turn, and what share of the device's rate that is."""
    where = torch.device(run.device)
    arithmetic, memory = speed.limits_of(where)
    show("limits", tflops_fp32=arithmetic / 1e12, terabytes=memory / 1e12)
    with network_ensemble.tensor_cores(where):
        tensor_cores, _ = speed.limits_of(where)
    show("limits", tflops_tf32=tensor_cores / 1e12)
    cases = (("compact", POINTS, 400), ("large", POINTS, 200), ("paper", POINTS, 100), ("paper", PAPER_POINTS, 30))
    for preset, points, steps in run.while_time(iter(cases[: run.few(4, 1)])):
        x, _, y = speed.made_up_spectra(60, points=run.few(points, 128))
        seconds: dict[int, float] = {}
        for members in (1, run.few(5, 2)):
            steps, extra = run.few(steps, 2), run.few(steps, 2)  # what comes before the first replay is in both
            short, long = (
                speed.trainer_of(x, y, run.config(preset, steps=s), members, where) for s in (steps, steps + extra)
            )
            times = [_seconds(trainer.run, where) for trainer in (short, long)]
            show("products", preset=preset, points=points, members=members, seconds_of_all=times[0])
            seconds[members] = max(times[1] - times[0], 1e-9) / extra
            work = count(partial(long._learn, speed.on_device(long.draw(), where), penalised=False))
            show(
                "training",
                preset=preset,
                points=points,
                members=members,
                steps_per_second=1 / seconds[members],
                launches=round(work.asked),
                gflop=work.flop / 1e9,
                share_of_tf32=work.flop / seconds[members] / tensor_cores,
                share_of_memory=work.bytes / seconds[members] / memory,
            )
        most = max(seconds)
        show("together", preset=preset, points=points, times_faster=most * seconds[1] / seconds[most])
        with patch.object(layers, "as_products", lambda h: False):  # by cuDNN, every member a group of channels
            trainer = speed.trainer_of(x, y, run.config(preset, steps=steps), most, where)
            show("grouped convolutions", preset=preset, points=points, seconds_of_all=_seconds(trainer.run, where))


def find_peaks(run: Run) -> None:
    """Spectra a second whose first peaks are measured, by how many go at once."""
    where = torch.device(run.device)
    for points, n in run.while_time(product((POINTS, PAPER_POINTS)[: run.few(2, 1)], BLOCKS[: run.few(4, 1)])):
        _, q, y = speed.made_up_spectra(256, points=points)
        spectra = torch.tensor(y, dtype=torch.float32, device=where).repeat(-(-n // 256), 1)[:n]
        measure = partial(measure_peaks, q, spectra, block_size=n)
        work, rate = count(measure), speed.rate_of(measure, where)
        show("peaks", points=points, at_once=n, spectra_per_second=rate * n, launches=round(work.asked))


def compare_generators(run: Run) -> None:
    """The generative study of ours for a GPU against ours for a CPU; see `generative`."""

    def fit(preset: str, learn: SpectraSet, seed: int) -> EnsembleForecast:
        ensemble = Ensemble(run.config(preset), seed=seed, device=run.device)
        return EnsembleForecast(ensemble.fit(learn.compositions, learn.intensities.astype(np.float64)))

    models = {preset: partial(fit, preset) for preset in ("large", "compact")}
    for seed, path in run.while_time(product(range(run.few(3, 1)), _paths())):
        generative.run(
            [path], seeds=(seed,), models=models, count=run.few(50, 4), on_record=lambda r: show("generative", **r)
        )


def agree(run: Run) -> None:
    """How far apart both devices are, what rounding costs, and whether a seed gives the same again."""
    for part in run.while_time(iter((_rounding, _twice, _on_both))):
        part(run)


def _rounding(run: Run) -> None:
    """What ten bits of each factor and half precision change in what a trained network generates."""
    name, spectra = next(iter(_sets().items()))
    learn, test = draw_split(spectra, "random", n=PAPER_SIZES.get(name, 60), seed=0)
    for preset in ("paper", "large", "compact"):
        trained = Ensemble(run.config(preset, steps=500, members=2), device=run.device).fit(
            learn.compositions, learn.intensities.astype(np.float64)
        )
        rounded = trained.predict(test.compositions).mean
        with (
            patch.object(network_ensemble, "tensor_cores", lambda device: nullcontext()),
            patch.object(networks, "as_products", lambda h: False),
        ):
            exact = trained.predict(test.compositions).mean
        one, other = _delta_q(test, rounded), _delta_q(test, exact)
        off = np.abs(one - other)[np.isfinite(one - other)]
        show(
            "rounding",
            preset=preset,
            rms=float(np.sqrt(np.square(rounded - exact).mean())),
            most=float(np.abs(rounded - exact).max()),
            delta_q=float(np.sqrt(np.square(off).sum() / max(len(off), 1))),
            delta_q_most=float(off.max(initial=0)),
            found_otherwise=int((np.isnan(one) != np.isnan(other)).sum()),
        )


def _twice(run: Run) -> None:
    """Whether the same seed gives the same checkpoint and the same map again, by the hashes in their names."""
    x, q, y = speed.made_up_spectra(60, points=run.few(POINTS, 128))
    space = CompositionSpace(("Co", "Ti", "Zr"), GRID)
    for preset in ("compact", "paper"):
        checkpoints, maps = set[str](), set[str]()
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                trained = Ensemble(run.config(preset, steps=60), seed=1, device=run.device).fit(x, y)
                checkpoints.add(trained.save(Path(folder), axis=q, record={}).stem)
                maps.add(PeakMap(trained, space, q, x, {}).write(Path(folder)).stem)
        show("again", preset=preset, times=2, checkpoints=len(checkpoints), maps=len(maps))


def _on_both(run: Run) -> None:
    """How far what either device learns is apart, and the maps of one checkpoint on either."""
    x, q, y = speed.made_up_spectra(60, points=run.few(POINTS, 128))
    asked, space = np.random.default_rng(1).dirichlet((1, 1, 1), 300), CompositionSpace(("Co", "Ti", "Zr"), GRID)
    devices = ("cpu", run.device)
    learned = [Ensemble(run.config("compact", steps=300), device=device).fit(x, y) for device in devices]
    means = [trained.predict(asked).mean for trained in learned]
    show("learned on both", preset="compact", steps=300, off=float(np.abs(means[0] - means[1]).max()))
    with tempfile.TemporaryDirectory() as folder:
        saved = learned[0].save(Path(folder), axis=q, record={})
        columns = []
        for device in devices:
            map_ = PeakMap(TrainedEnsemble.load(saved, device=device), space, q, x, {})
            columns.append(read_map(map_.write(Path(folder) / device))[0])
    off = {name: np.abs(columns[0][name] - columns[1][name]) for name in columns[0] if name not in space.elements}
    worst = {name: float(values[np.isfinite(values)].max(initial=0)) for name, values in off.items()}
    show("map on both", alloys=len(space), **worst)


def _judged(run: Run, preset: str, name: str, spectra: SpectraSet, *, n: int, seed: int) -> dict[str, Any]:
    """Return how a preset does on a draw of a set, beside the nearest measured spectrum and the mean of all."""
    learn, test = draw_split(spectra, "random", n=n, seed=seed)
    start, texts = time.perf_counter(), set[str]()
    trained = Ensemble(run.config(preset), seed=seed, device=run.device).fit(
        learn.compositions,
        learn.intensities.astype(np.float64),
        report=lambda *told, **_: texts.update(text.partition("; ")[2] for text in told[3:]),
    )
    seconds = time.perf_counter() - start
    predicted = trained.predict(test.compositions)
    model, stream = trained.stack.models["networks"], torch.Generator().manual_seed(seed)
    blocks = list(trained.stack.predict_blocks(test.compositions))
    members = on_cpu([block.predictions["networks"].members for block in blocks])  # (b, m, q)
    draws = on_cpu([_drawn(model, block.asked, stream) for block in blocks], axis=1)  # (d, b, m, q)
    one = np.square(draws - test.intensities[:, None]).mean((1, 3))  # (d, m)
    near = distances_to(torch.tensor(learn.compositions), torch.tensor(test.compositions)).argmin(1).numpy()
    return {
        "preset": preset,
        "dataset": name,
        "n": len(learn),
        "seed": seed,
        "one": float(np.median(one)),
        "one_worst": float(one.max()),
        "member": float(np.square(members - test.intensities[:, None]).mean()),
        **errors_of(predicted.mean, test),
        "one_delta_q": _median([errors_of(draw[:, 0], test)[DELTA_Q.name] for draw in draws]),
        "nearest": _mse(learn.intensities[near], test),
        "mean_spectrum": _mse(np.broadcast_to(learn.intensities.mean(0), test.intensities.shape), test),
        "weights": dict(trained.weights),
        "seconds": seconds,
        "said": sorted(texts - {""}),
    }


def _drawn(model: TrainedBaseModel, asked: Tensor, stream: torch.Generator) -> Tensor:
    """Return what every member makes of noise that nobody chose, `(d, b, m, q)`."""
    drawn = [model.draw_block(asked, stream) for _ in range(DRAWS)]
    return torch.stack([one for one in drawn if one is not None])


def _median(errors: Sequence[float | None]) -> float | None:
    told = [error for error in errors if error is not None]
    return float(np.median(told)) if told else None


def _mse(generated: Spectra, test: SpectraSet) -> float:
    return float(np.square(generated - test.intensities).mean())


def _delta_q(test: SpectraSet, generated: Spectra) -> np.ndarray:
    q = q_axis(test.axis_name, test.axis, test.wavelength)
    assert q is not None, "a synchrotron set has an axis in q"
    return measure_peaks(q, torch.from_numpy(generated)).figures[DELTA_Q.name].numpy()


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    speed.wait_for(device)
    start = time.perf_counter()
    work()
    speed.wait_for(device)
    return time.perf_counter() - start


def _paths() -> list[Path]:
    """The shared sets, that without a glass first: there a network has most to learn."""
    data = Path(os.environ.get("GLASSMAP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    return sorted((data / "synchrotron").glob("*.nc"), reverse=True)


def _sets() -> dict[str, SpectraSet]:
    return {path.stem: read_prepared(path) for path in _paths()}


PARTS: Sequence[tuple[Callable[[Run], None], float]] = (  # and their shares of the time
    (learn_published, 0.4),
    (make_maps, 0.18),
    (learn_from_few_and_many, 0.14),
    (learn_together, 0.08),
    (find_peaks, 0.04),
    (compare_generators, 0.1),
    (agree, 0.06),
)


def main(seconds: float, *, tiny: bool = False) -> None:
    """Tell all of it; what one part leaves of its time is the next one's."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not tiny:
        raise SystemExit("It takes hours without a GPU. Run it on a machine that has one, or with --tiny.")
    show("device", name=torch.cuda.get_device_name() if device == "cuda" else "CPU", torch=torch.__version__)
    start, promised = time.perf_counter(), 0.0
    for part, share in PARTS:
        promised += share * seconds
        begun = time.perf_counter() - start
        try:
            with patch.object(speed, "SECONDS", min(speed.SECONDS, SECONDS)):
                part(Run(device, max(promised - begun, 1.0), tiny))
        except Exception as error:  # whatever it is, the other parts are worth having
            show("failed", part=part.__name__, error=repr(error), at=traceback.format_exc().splitlines()[-6:])
        show("part", name=part.__name__, seconds=time.perf_counter() - start - begun)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=430.0)
    parser.add_argument("--tiny", action="store_true")
    main(**vars(parser.parse_args()))

"""How fast the ensemble learns, generates, is measured and maps, beside what the device could do at best."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.maps.peak_map import SHARD, PeakMap
from glassmap.agent.models.base_model import BLOCK
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, resolve_device
from glassmap.agent.models.networks import architecture_of
from glassmap.agent.models.training import Batch, Trainer, TrainingData, one_thread
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.reference import fit_peak
from glassmap.agent.shapes import Axis, Compositions, Spectra
from tests.benchmarks.planning import ELEMENTS, peak_mib

SECONDS = 5.0  # that each rate is measured for
FIT_STEPS = 60  # of training before speeds are taken; they don't depend on what was learned


def run(
    *,
    config: TrainingConfig,
    samples: int = 80,
    points: int = 800,
    members: Sequence[int] = (1, 5, 10),
    elements: Sequence[int] = (3, 4, 5),
    device: str = "auto",
    longest_map: float = 60.0,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a measurement: `what`, `case`, `per_second`, and the shares of the device's limits that it takes.

    `arithmetic` is a share of the floating-point operations of a matrix product, `memory` of the bytes of a copy, both
    timed in the same run; of a map `seconds` is the time of all its alloys and `done` the share that was timed.

    Spectra are synthetic: one peak that moves and widens with composition.

    Args:
        config: Of the ensemble.
        samples: Training spectra.
        points: Of a spectrum.
        members: Numbers of networks, trained together and in turn.
        elements: Of the systems to map, every alloy at 1 at.% with some of each element.
        device: As for the ensemble.
        longest_map: Seconds; what is left of a larger map is scaled up from the shards done by then.
        on_record: Called with every record as it is there.
    """
    where, records = resolve_device(device), []

    def add(what: str, case: str, **figures: float) -> None:
        records.append({"what": what, "case": case, **figures})
        on_record(records[-1])

    compositions, q, spectra = made_up_spectra(samples, points=points)
    one = trainer_of(compositions, spectra, config, 1, where)
    with one_thread(one.generator.uses_one_thread):
        arithmetic, memory = limits_of(where)
    add("the device's limits", f"{where.type}: a matrix product, GFLOP/s", per_second=arithmetic / 1e9)
    add("the device's limits", f"{where.type}: a copy, GB/s", per_second=memory / 1e9)
    for m in members:
        together, alone = (trainer_of(compositions, spectra, config, k, where) for k in (m, 1))
        with one_thread(together.generator.uses_one_thread):
            flops, moved = _work(together)
            rate, in_turn = rate_of(together.step, where), rate_of(alone.step, where) / m
        add(
            "training steps",
            f"{m} member{'s' * (m > 1)} together",
            per_second=rate,
            times_faster_than_in_turn=rate / in_turn,
            arithmetic=rate * flops / arithmetic,
            memory=rate * moved / memory,
        )
    short = Ensemble(config.model_copy(update={"steps": FIT_STEPS}), device=device).fit(compositions, spectra)
    block = np.random.default_rng(1).dirichlet(np.ones(compositions.shape[1]), BLOCK)
    predictions = next(short.stack.predict_blocks(block)).predictions.values()
    members_spectra = next(short.predict_blocks(block))[1]
    with FlopCounterMode(display=False) as counter:
        list(short.predict_blocks(block))
    rate = rate_of(lambda: list(short.predict_blocks(block)), where)
    draws = max(len(prediction.draws) for prediction in predictions)
    weights = sum(tensor.nbytes for model in short.stack.models.values() for tensor in model.save().tensors.values())
    add(
        "spectra generated",
        f"{config.members} members, {draws} draw{'s' * (draws > 1)}, an alloy one spectrum",
        per_second=rate * len(block),
        arithmetic=rate * counter.get_total_flops() / arithmetic,
        memory=rate * (sum(prediction.draws.nbytes for prediction in predictions) + weights) / memory,
    )
    generated = members_spectra.flatten(0, 1)
    rate = rate_of(lambda: measure_peaks(q, generated), where)
    add("peaks measured", "batched", per_second=rate * len(generated), memory=rate * generated.nbytes / memory)
    few = generated[:50].cpu().numpy().astype(np.float64)
    start = time.perf_counter()
    for spectrum in few:
        fit_peak(q, spectrum)
    add("peaks measured", "lmfit, one by one", per_second=len(few) / (time.perf_counter() - start))
    for n in elements:
        add("map", f"{n} elements", **time_map(n, config, points, device, longest_map))
    add("memory", "of this process at most", gib=peak_mib() / 1024)
    return records


def made_up_spectra(n: int, *, points: int, elements: int = 3) -> tuple[Compositions, Axis, Spectra]:
    """Compositions, an axis in 1/Å and spectra of one peak that moves and widens with composition."""
    compositions = np.random.default_rng(0).dirichlet(np.ones(elements), n)
    q = np.linspace(1.0, 5.5, points)
    center = 2.2 + compositions @ np.linspace(0, 1, elements)
    width = 0.15 + 0.3 * compositions[:, :1]
    return compositions, q, 5 + 90 * np.exp(-(((q - center[:, None]) / width) ** 2))


def trainer_of(
    compositions: Compositions, spectra: Spectra, config: TrainingConfig, members: int, device: torch.device
) -> Trainer:
    x, y = (part.astype(np.float32) for part in (compositions, spectra))
    seen = np.ones((members, len(x)), dtype=bool)
    data = TrainingData(x, y, config, architecture_of(config.on(gpu=device.type == "cuda")), list(range(members)), seen)
    return Trainer(data, device=device)


def _work(trainer: Trainer) -> tuple[int, int]:
    """Floating-point operations of a step, and bytes that it moves at least.

    What moves of every trained number: its weight read forward and backward, gradient written, four read and three
    written by Adam, and of the generator's one read and the average read and written.
    """
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    generator = sum(p.nbytes for p in trainer.generator.parameters())
    critic = 0 if trainer.critic is None else sum(p.nbytes for p in trainer.critic.parameters())
    return counter.get_total_flops(), 13 * generator + 10 * critic


def time_map(n: int, config: TrainingConfig, points: int, device: str, longest: float) -> dict[str, float]:
    """Seconds of a whole map; of a large one some shards are done and the rest is scaled up."""
    compositions, q, spectra = made_up_spectra(80, points=points, elements=n)
    ensemble = Ensemble(config.model_copy(update={"steps": FIT_STEPS}), device=device).fit(compositions, spectra)
    peak_map = PeakMap(ensemble, CompositionSpace(ELEMENTS[:n]), q, compositions, {})
    alloys, done, start = len(peak_map.space), 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in peak_map.shards:
            if done and time.perf_counter() - start > longest:
                break
            peak_map.write_shard(number, Path(folder))
            done = min((number + 1) * SHARD, alloys)
        if done == alloys:
            peak_map.write(Path(folder))
        seconds = time.perf_counter() - start
    return {"alloys": alloys, "per_second": done / seconds, "seconds": seconds * alloys / done, "done": done / alloys}


def limits_of(device: torch.device) -> tuple[float, float]:
    """Floating-point operations a second of a large matrix product, and bytes a second of a large copy."""
    size = 4096 if device.type == "cuda" else 1024
    a = torch.rand(size, size, device=device)
    big = torch.rand(2**26 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(big)
    return 2 * size**3 * rate_of(lambda: a @ a, device), 2 * big.nbytes * rate_of(lambda: target.copy_(big), device)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Put what is learned from in one step on a device."""
    return Batch(*(part.to(device) for part in batch))


def rate_of(work: Callable[[], Any], device: torch.device) -> float:
    """Times a second, after one time to warm up."""
    work()
    wait_for(device)
    start, times = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < SECONDS:
        for _ in range(1 + times // 4):  # the device is waited for ever more rarely
            work()
            times += 1
            if device.type == "cpu" and time.perf_counter() - start > SECONDS:
                break
        wait_for(device)
    wait_for(device)
    return times / max(elapsed, time.perf_counter() - start)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

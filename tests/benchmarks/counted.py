"""What training steps and maps would take on a GPU, from what they ask of it: no GPU is needed, and no numbers.

Networks, measured spectra and alloys are shapes on PyTorch's device `meta`; `work` counts what is asked of them. The
time that follows is a model: what takes longest of launch, memory and arithmetic, launch after launch.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.maps import peak_map
from glassmap.agent.maps.peak_map import SHARD, map_block
from glassmap.agent.models import base_model
from glassmap.agent.models.base_model import Known
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.models.expected_error import ExpectedError
from glassmap.agent.models.extra_trees import RandomisedTrees, TrainedTrees
from glassmap.agent.models.gaussian_process import GaussianProcess, TrainedGaussianProcess
from glassmap.agent.models.layers import Sizes
from glassmap.agent.models.network_ensemble import TrainedNetworks
from glassmap.agent.models.networks import Architecture, architecture_of
from glassmap.agent.models.stacking import Stack
from glassmap.agent.models.training import PENALTY_EVERY, Batch, Trainer, TrainingData
from glassmap.agent.peaks.batched import Peaks, measure_peaks
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.shapes import Axis
from tests.benchmarks.planning import ELEMENTS
from tests.benchmarks.speed import made_up_spectra
from tests.benchmarks.work import H200, Work, as_on_a_gpu, count

CASES = (("paper", 3743), ("large", 3743), ("large", 800), ("compact", 800))
SAMPLES = 80
MEASURED = 65536  # spectra whose peaks are measured at once
HOST = 0.05  # seconds that the processor takes for a shard besides: unranking, distances, compression; one core


def run(
    *,
    cases: Sequence[tuple[str, int]] = CASES,
    elements: Sequence[int] = (3, 4, 5),
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a preset and number of points: counts of a training step, of a block of a map, and the times.

    Args:
        cases: Presets and points.
        elements: Of the systems to map at 1 at.%.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for preset, points in cases:
        config = PRESETS[preset].on(gpu=preset != "compact")
        step, together, block = (
            count_step(config, points, members=1),
            count_step(config, points, members=config.members),
            count_map(config, points),
        )
        record: dict[str, Any] = {
            "preset": preset,
            "points": points,
            "members": config.members,
            "step_launches": together.asked,
            "step_gflop": together.flop / 1e9,
            "step_gigabytes": together.bytes / 1e9,
            "steps_per_second": 1 / together.seconds(replayed=True),
            "share_of_tf32": together.flop / together.seconds(replayed=True) / H200.products,
            "faster_than_in_turn": config.members * step.seconds(replayed=True) / together.seconds(replayed=True),
            "map_launches": block.asked,
            "map_waits": len(block.waits),
            "map_megabytes_an_alloy": block.bytes / SHARD / 1e6,
            "map_gflop_an_alloy": block.flop / SHARD / 1e9,
        }
        voices = config.members + 1 + 2 * config.stacked  # the mean, and every base model's members
        peaks = count_peaks(points, MEASURED).seconds() / MEASURED
        record["peaks_per_second"] = 1 / peaks
        for n in elements:
            alloys = len(CompositionSpace(ELEMENTS[:n]))
            a_block = block.seconds() / SHARD + voices * peaks
            record[f"map_{n}_seconds"] = alloys * a_block + -(-alloys // SHARD) * HOST
        records.append(record)
        on_record(record)
    return records


def count_step(config: TrainingConfig, points: int, *, members: int) -> Work:
    """Count a training step, on average: some of them have the gradient penalty.

    Adam is counted as one program that reads each number, its gradient and two averages, and writes three of them.
    """
    x, _, y = made_up_spectra(SAMPLES, points=points)
    architecture = cast(Architecture[Any], architecture_of(config))
    seen = np.ones((1, SAMPLES), dtype=bool)
    trainer = Trainer(
        TrainingData(x.astype(np.float32), y.astype(np.float32), config, _narrow(architecture), [0], seen),
        device=torch.device("cpu"),
    )  # of narrow networks, which take no time to make; the real ones need no numbers
    batch = Batch(*(_widened(part, members).to("meta") for part in trainer.draw()))
    sizes = Sizes(members, x.shape[1], points)
    with torch.device("meta"):
        generator = architecture.generator(sizes, architecture.widths)
        averaged = architecture.generator(sizes, architecture.widths)
        critic = None if trainer.critic is None else type(trainer.critic)(sizes, architecture.critic)
    trainer.generator, trainer.averaged, trainer.critic = generator, averaged, critic
    trainer.spectra, trainer.on_device = trainer.spectra.to("meta"), trainer.on_device.to("meta")
    trained = [network for network in (generator, critic) if network is not None]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = []
    for network in trained:
        optimisers.append((torch.optim.Adam(network.parameters()), 0.1))
    trainer.optimisers = optimisers
    with as_on_a_gpu(), patch.object(torch.optim.Adam, "step", _adam):
        plain = count(lambda: (trainer._learn(batch, penalised=False), trainer._average(0.1)))
        if not config.gradient_penalty:
            return plain
        penalised = count(lambda: (trainer._learn(batch, penalised=True), trainer._average(0.1)))
    launches = plain.launches * (PENALTY_EVERY - 1) + penalised.launches
    return Work(launches, plain.waits + penalised.waits, PENALTY_EVERY)


def count_map(config: TrainingConfig, points: int, *, alloys: int = SHARD, elements: int = 4) -> Work:
    """Count a block of a map: every base model, and the spread, but for the peaks."""
    x, q, y = made_up_spectra(SAMPLES, points=points, elements=elements)
    asked = np.random.default_rng(0).dirichlet(np.ones(elements), alloys)
    architecture = cast(Architecture[Any], architecture_of(config))
    with torch.device("meta"):
        generator = architecture.generator(Sizes(config.members, elements, points), architecture.widths).eval()
        noise = torch.empty(architecture.draws if generator.noise else 1, 1, config.members, generator.noise)
    known = Known(torch.tensor(x, device="meta"), torch.tensor(y, dtype=torch.float32, device="meta"))
    models: dict[str, Any] = {"networks": TrainedNetworks(generator, {}, noise)}
    if config.stacked:
        process = cast(TrainedGaussianProcess, GaussianProcess(torch.device("cpu")).fit(x, y[:, :1], seed=0))
        trees = cast(TrainedTrees, RandomisedTrees(torch.device("cpu")).fit(x, y[:, :1], seed=0))
        models["gaussian_process"], models["trees"] = _on_meta(process, known), _on_meta(trees, known)
        vars(models["trees"]).update(depth=trees.depth, samples_of_alloys=trees.samples_of_alloys.to("meta"))
    stack = Stack(
        models,
        {name: 1 / len(models) for name in models},
        known,
        0.0,
        1.0,
        oof_mse=1.0,
        oof_rmse=np.ones(points),
        conformal_quantile=1.0,
        expected_error=ExpectedError(1.0, 1.0, 1.0, 1.0, 1.0),
    )
    ensemble = TrainedEnsemble(config, 0, stack)
    with (
        as_on_a_gpu(),
        patch.object(base_model, "block_size", lambda device: alloys),
        patch.object(peak_map, "measure_peaks", _no_peaks),
        patch.object(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape)),
    ):
        return count(lambda: map_block(ensemble, asked, q=q))


def count_peaks(points: int, spectra: int) -> Work:
    """Count what measuring the first peaks of so many spectra at once asks for."""
    q = np.linspace(1.0, 5.5, points)
    return count(lambda: measure_peaks(q, torch.empty(spectra, points, device="meta"), block_size=spectra))


def _no_peaks(q: Axis, spectra: Tensor) -> Peaks:
    """Stand for `measure_peaks`, which is counted by itself."""
    figures = {figure.name: torch.empty(len(spectra), dtype=torch.float64, device="meta") for figure in FIGURES}
    found = torch.empty(len(spectra), dtype=torch.bool, device="meta")
    return Peaks(figures, found, torch.empty(len(spectra), dtype=torch.int64, device="meta"))


def _narrow(architecture: Architecture[Any]) -> Architecture[Any]:
    """Return the same kind with a channel or unit a layer."""
    field = "channels" if hasattr(architecture.widths, "channels") else "hidden"
    ones = (1,) * len(getattr(architecture.widths, field))
    critic = replace(architecture.critic, channels=(1,) * len(architecture.critic.channels), hidden=1)
    return replace(architecture, widths=replace(architecture.widths, **{field: ones}), critic=critic)


def _widened(part: Tensor, members: int) -> Tensor:
    """Repeat one member's part of a batch; members are the second dimension, of noise the third."""
    repeats = [1] * part.dim()
    repeats[2 if part.dim() == 4 else 1] = members
    return part.repeat(repeats)


def _on_meta(model: Any, known: Known) -> Any:
    """Return a trained base model as shapes alone."""
    tensors = {name: value.to("meta") for name, value in vars(model).items() if isinstance(value, Tensor)}
    return replace(model, known=known, **tensors)


def _adam(optimiser: torch.optim.Optimizer) -> None:
    for group in optimiser.param_groups:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters]
        states = [[torch.empty_like(parameter) for parameter in parameters] for _ in range(2)]
        steps = [torch.empty((), device="meta") for _ in parameters]
        cast(Any, torch)._fused_adam_(
            parameters, gradients, *states, [], steps,
            lr=0.1, beta1=0.9, beta2=0.99, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip

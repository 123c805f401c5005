"""How the networks learn: the batches, their vicinity, schedule, averaging, one training step for all members at once.

Letters: b batch, m members, n training spectra, e elements and columns of the context, k draws, z noise, q points.
"""

import copy
import math
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.cuda_graph import NotRecorded, Repeated, recordable, refused
from glassmap.agent.models.layers import VECTORS, Sizes, build, tensor_cores
from glassmap.agent.models.losses import (
    composition_error,
    energy_score,
    outranking,
    squared_error,
    squared_slope,
    variance_of_draws,
)
from glassmap.agent.models.networks import Architecture, Discriminator, Generator
from glassmap.agent.models.protocol import stream_seed
from glassmap.agent.progress import Report, ignore

REPORT_EVERY = 10  # steps
AHEAD = 50  # steps that are drawn ahead on a GPU; reading the loss, once for all of them, waits for the device
SAME_CONTEXT = 1e-6  # distance of encoded process variables up to which spectra were made alike
LEAST_WEIGHT = 1e-3  # what counts less in a soft vicinity doesn't count; Ding et al.'s
PENALTY_EVERY = 4  # steps; the gradient penalty counts as many times more then (Karras et al., CVPR 2020)


class TrainingData(NamedTuple):
    """What the networks of an ensemble learn from, and how; plain values, so that they can be trained elsewhere."""

    compositions: Float[np.ndarray, "n e"]  # float32, with the columns of a context beside them
    spectra: Float[np.ndarray, "n q"]  # float32, 0-100
    config: TrainingConfig
    architecture: Architecture[Any]
    seeds: list[int]  # one a member
    seen: Bool[np.ndarray, "m n"]  # which spectra each member learns from
    context: int = 0  # how many of the columns are of the context

    @property
    def sizes(self) -> Sizes:
        """Members, elements, points and columns of the context of the networks."""
        elements = self.compositions.shape[1] - self.context
        return Sizes(len(self.seeds), elements, self.spectra.shape[1], self.context)


TrainFn = Callable[[TrainingData, Report], Generator]


class Vicinity(NamedTuple):
    """How near a spectrum or a label must be to a target to stand for it, as distances of composition vectors.

    Where there is a context, only spectra of the target's own stand for it: distances are of composition alone.

    Source: Ding et al., CcGAN (ICLR 2021; TPAMI 2023), whose labels are scalars. Their σ, a reference rule, would
    smear a sparse set over its neighbours, and κ, the largest gap between neighbouring labels, over borders of phases:
    here σ is `jitter` x the median distance of a training composition to its nearest neighbour, κ that median.
    """

    sigma: float  # standard deviation of the jitter of target compositions, atomic fraction
    kappa: float  # radius of the vicinity, atomic fraction
    kind: Literal["soft", "hard"]  # whether what is near counts by exp(-distance²/κ²), or up to κ alike

    @classmethod
    def of(
        cls, compositions: Float[Tensor, "n e"], *, jitter: float, kind: Literal["soft", "hard"] = "soft"
    ) -> "Vicinity":
        """Return the bandwidths that follow from the training compositions; replicates don't count as neighbours."""
        distances = torch.cdist(compositions.double(), compositions.double())
        distances[distances < SAME_ALLOY] = math.inf  # torch has them to 1e-8, also from a row to itself
        nearest = distances.min(dim=1).values
        nearest = nearest[nearest.isfinite()]
        median = nearest.median().item() if len(nearest) else 0.0
        return cls(jitter * median, median, kind)

    def weights(self, targets: Float[Tensor, "b e"], known: Float[Tensor, "n e"]) -> Float[Tensor, "b n"]:
        """Return how much the spectrum of each known composition stands for each target; 0 outside the vicinity."""
        squared = torch.cdist(targets, known).square() / max(self.kappa, 1e-9) ** 2
        if self.kind == "hard":
            return (squared <= 1).float()
        weights = torch.exp(-squared)
        return torch.where(weights < LEAST_WEIGHT, 0, weights)

    def shifts(self, count: int, elements: int, stream: torch.Generator) -> Float[Tensor, "b e"]:
        """Draw steps from targets to labels in their vicinity, as often as those count there; their sum is 0."""
        steps = _balanced(torch.randn(count, elements, generator=stream))
        if self.kind == "soft":
            return self.kappa / math.sqrt(2) * steps
        reach = torch.rand(count, 1, generator=stream) ** (1 / max(elements - 1, 1))
        return self.kappa * reach * functional.normalize(steps)


def _balanced(steps: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
    """Return steps after which shares still sum to 1."""
    return steps - steps.mean(1, keepdim=True)


class Batch(NamedTuple):
    """What all members learn from in one step."""

    rows: Integer[Tensor, "b m"]  # the training spectrum that each generated one is held against
    targets: Float[Tensor, "b m e"]  # its composition, jittered
    noise: Float[Tensor, "k b m z"]
    real: Integer[Tensor, "b m"]  # a measured spectrum from the vicinity of the target, for the discriminator
    labels: Float[Tensor, "b m e"]  # a composition there, whose generated spectrum stands beside it


class Trainer:
    """Generators, discriminators and their optimisers; `step` once, or `run` to the end.

    Every member has its own random stream, so that member k is the same network whatever stands beside it, and the
    device doesn't change what is drawn. On a CPU, dense networks that learn without a discriminator (the preset
    `compact`) are the same to the bit. Convolutions (the presets `paper` and `large`, and any discriminator) round
    otherwise with other numbers of members, and training makes more of that (docs/cluster.md).

    Args:
        data: Spectra that a member doesn't see neither pull nor judge it.
        device: Where to train.
    """

    def __init__(self, data: TrainingData, *, device: torch.device) -> None:
        self.data, self.config, self.device, self.sizes = data, data.config, device, data.sizes
        self.compositions, self.spectra = torch.tensor(data.compositions), torch.tensor(data.spectra).to(device)
        self.on_device = self.compositions.to(device)
        self.seen = [torch.nonzero(torch.tensor(mine)).squeeze(1) for mine in data.seen]
        shares = self.compositions[:, : self.sizes.elements]
        self.vicinity = Vicinity.of(shares, jitter=self.config.jitter, kind=self.config.vicinity)
        self._begin()

    def _begin(self) -> None:
        """Draw networks from the members' seeds, and take no step."""
        architecture, sizes, seeds = self.data.architecture, self.sizes, self.data.seeds
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.generator = build(lambda: architecture.generator(sizes, architecture.widths), self.streams).to(self.device)
        self.generator.start_from(torch.stack([self.spectra[mine.to(self.device)].mean(0) for mine in self.seen]))
        self.averaged = copy.deepcopy(self.generator)
        self.optimisers = [(self._optimiser(self.generator), self.config.learning_rate)]
        self.critic = None
        if self.config.adversarial > 0 or self.config.composition > 0:
            own = [torch.Generator().manual_seed(stream_seed(seed, "discriminator")) for seed in seeds]
            self.critic = build(lambda: Discriminator(sizes, architecture.critic), own).to(self.device)
            self.optimisers.append((self._optimiser(self.critic), self.config.critic_learning_rate))
        self.done = 0

    def run(self, report: Report = ignore) -> Generator:
        """Train to the last step; return the generator with averaged weights, ready to generate.

        A seed gives the same network again on the same device.
        """
        if self.device.type == "cuda":
            with tensor_cores(self.device):
                self.run_recorded(report)
        while self.done < self.config.steps:
            mse = self.step()
            if self.done % REPORT_EVERY == 0 or self.done == self.config.steps:
                report("train", self.done, self.config.steps, f"MSE {mse.item():.1f}")
        return self.averaged.eval()

    def step(self) -> Float[Tensor, ""]:
        """Take one step with every member; return the MSE of the batch, mean over members, left on the device."""
        batch = Batch(*(part.to(self.device) for part in self.draw()))
        pace, taken = self._schedule(self.done)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
        mse = self._learn(batch, penalised=self._penalises(self.done))
        self._average(taken)
        self.done += 1
        return mse

    def run_recorded(self, report: Report = ignore) -> None:
        """Train to the last step as CUDA graphs, one of steps with the gradient penalty and one of those without.

        What a GPU refuses to record is done step by step, from the first one: so nothing of the attempt is left in it.
        """
        if not refused():
            with suppress(NotRecorded), recordable(self.device):
                return self.run_ahead(report, recorded=True)
            torch.cuda.synchronize(self.device)
            self._begin()
        return self.run_ahead(report, said=f"; no CUDA graph: {refused()}")

    def run_ahead(self, report: Report = ignore, *, recorded: bool = False, said: str = "") -> None:
        """Train to the last step with batches drawn and carried to the device some steps ahead of it.

        They are those of `step`, and so are its rates, which stand on the device as well: so a step is the same
        launches each time, and a GPU repeats it by itself.

        Args:
            report: Is told the MSE after every chunk of steps, which is when the processor waits for the device.
            recorded: Whether steps are recorded and replayed.
            said: Told as well.
        """
        on_gpu = self.device.type == "cuda"
        for optimiser, _ in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = torch.zeros((), device=self.device)
        place, mse = torch.zeros(1, dtype=torch.int64, device=self.device), torch.zeros((), device=self.device)
        chunk = self._draw_ahead()
        there = [part.to(self.device) for part in chunk]
        works = [partial(self._learn_next, there, place, mse, penalised=penalised) for penalised in (False, True)]
        learn = [Repeated(work) if recorded else work for work in works]
        while self.done < self.config.steps:
            for part, ahead in zip(there, chunk, strict=True):
                part[: len(ahead)].copy_(ahead.pin_memory() if on_gpu else ahead, non_blocking=True)
            place.zero_()
            for _ in range(len(chunk[0])):
                learn[self._penalises(self.done)]()
                self.done += 1
            chunk = self._draw_ahead()  # while the device works
            report("train", self.done, self.config.steps, f"MSE {mse.item():.1f}{said}")

    def _draw_ahead(self) -> list[Tensor]:
        """Draw the batches of the next steps; last come their learning rates' factors and `_schedule`'s shares."""
        steps = range(self.done, min(self.done + AHEAD, self.config.steps))
        batches = [self.draw() for _ in steps]
        schedule = torch.tensor([self._schedule(step) for step in steps])
        return [*(torch.stack(parts) for parts in zip(*batches, strict=True)), schedule]

    def _learn_next(
        self, ahead: list[Tensor], place: Integer[Tensor, "1"], mse: Float[Tensor, ""], *, penalised: bool
    ) -> None:
        """Take the step of a batch that was drawn ahead; nothing but tensors says which."""
        *batch, (pace, taken) = (part.index_select(0, place)[0] for part in ahead)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"].copy_(rate * pace)
        mse.copy_(self._learn(Batch(*batch), penalised=penalised))
        self._average(taken)
        place.add_(1)

    def _learn(self, batch: Batch, *, penalised: bool) -> Float[Tensor, ""]:
        if self.critic is not None:
            self._step_critic(self.critic, batch, penalised=penalised)
        return self._step_generator(batch).detach()

    def _penalises(self, step: int) -> bool:
        return self.config.gradient_penalty > 0 and step % PENALTY_EVERY == 0

    def _schedule(self, step: int) -> tuple[float, float]:
        """Return the learning rate's factor at a step, and what share of the new weights the averaged ones take."""
        return _pace(step, self.config.steps), 1 - min(self.config.averaging, (1 + step) / (10 + step))

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return Adam; fused, which is three times as fast, where every member's numbers fill whole processor vectors.

        On a CPU the fused program rounds a last few numbers otherwise than the rest, and which those are depends on who
        is trained together.
        """
        whole: list[nn.Parameter] = []
        broken: list[nn.Parameter] = []
        for parameter in network.parameters():
            (broken if parameter.numel() // len(self.streams) % VECTORS else whole).append(parameter)
        if self.device.type == "cuda":
            groups = [{"params": whole + broken, "fused": True, "capturable": True}]
        else:
            groups = [{"params": whole, "fused": True}, {"params": broken}]
        return torch.optim.Adam(groups, betas=(self.config.momentum, 0.99))

    def _step_critic(self, critic: Discriminator, batch: Batch, *, penalised: bool) -> None:
        """Tell the discriminator the target, and show it what was measured and what is generated in its vicinity."""
        with torch.no_grad():
            fake = self.generator(batch.noise[-1], batch.labels)
        shown = torch.cat([self.spectra[batch.real], fake])  # (2 b, m, q)
        scores, seen = critic(shown.requires_grad_(penalised), batch.targets.repeat(2, 1, 1))
        real, generated = scores.chunk(2)
        loss = outranking(real, generated)
        if self.config.composition > 0:
            true = self.on_device[batch.real]
            loss = loss + self.config.composition * composition_error(seen[: len(true)], true)
        if penalised:  # a mean over both halves is half of R1 + R2
            loss = loss + PENALTY_EVERY * self.config.gradient_penalty * squared_slope(scores, shown)
        _descend(self.optimisers[1][0], loss)

    def _step_generator(self, batch: Batch) -> Float[Tensor, ""]:
        """Let the generator descend on its terms; return the MSE of single draws, mean over members."""
        c, measured = self.config, self.spectra[batch.rows]
        k, b = batch.noise.shape[:2]
        generated = self.generator(batch.noise.flatten(0, 1), batch.targets.repeat(k, 1, 1)).unflatten(0, (k, b))
        mse = of_a_draw = squared_error(generated, measured)
        loss = c.fidelity * mse / 100
        if k > 1:
            if c.energy > 0:
                loss = loss + c.energy * energy_score(generated, measured) / 10
            of_a_draw = mse + variance_of_draws(generated)
        if self.critic is not None:
            score, seen = self.critic(generated[0], batch.targets)
            if c.adversarial > 0:
                with torch.no_grad():
                    real, _ = self.critic(self.spectra[batch.real], batch.targets)
                loss = loss + c.adversarial * outranking(score, real)
            if c.composition > 0:
                loss = loss + c.composition * composition_error(seen, batch.targets)
        _descend(self.optimisers[0][0], loss)
        return of_a_draw.mean()

    def draw(self) -> Batch:
        """Draw targets near training compositions, and for each what stands for it: measured, and to be generated.

        On the CPU, whatever the device.
        """
        b, e, z = self.config.batch_size, self.sizes.elements, self.generator.noise
        k = 2 if z and self.config.energy + self.config.fidelity > 0 else 1
        parts: list[tuple[Tensor, ...]] = []  # of each member, as the fields of `Batch`
        for stream, mine in zip(self.streams, self.seen, strict=True):
            row = mine[torch.randint(len(mine), (b,), generator=stream)]
            target = self.compositions[row].clone()
            target[:, :e] += self.vicinity.sigma * _balanced(torch.randn(b, e, generator=stream))  # not the context
            noise = torch.randn(k, b, z, generator=stream)
            real, label = row, target
            if self.critic is not None:
                known = self.compositions[mine]
                weights = self.vicinity.weights(target[:, :e], known[:, :e])
                apart = torch.cdist(target[:, e:], known[:, e:], compute_mode="donot_use_mm_for_euclid_dist")
                weights[apart > SAME_CONTEXT] = 0
                alone = weights.sum(1) == 0  # no measured spectrum in the vicinity: the target's own stands for it
                weights[alone] = (mine == row[alone, None]).float()
                real = mine[torch.multinomial(weights, 1, generator=stream).squeeze(1)]
                label = target.clone()
                label[:, :e] += self.vicinity.shifts(b, e, stream)
            parts.append((row, target, noise, real, label))
        rows, targets, noises, reals, labels = zip(*parts, strict=True)
        rows, targets, reals, labels = (torch.stack(part, 1) for part in (rows, targets, reals, labels))
        return Batch(rows, targets, torch.stack(noises, 2), reals, labels)

    @torch.no_grad()
    def _average(self, taken: float | Float[Tensor, ""]) -> None:
        new, old = self.generator.state_dict(), self.averaged.state_dict()
        for name, value in old.items():
            if value.is_floating_point():
                value.lerp_(new[name], taken)
            else:
                value.copy_(new[name])


def _descend(optimiser: torch.optim.Optimizer, loss_of_members: Float[Tensor, " m"]) -> None:
    """Let each member descend on its own loss: by the sum's gradient, since members share no weight.

    What else the loss depends on, the other network's weights, costs nothing and is left alone.
    """
    optimiser.zero_grad(set_to_none=True)
    own = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    loss_of_members.sum().backward(inputs=own)  # pyright: ignore[reportUnknownMemberType]
    optimiser.step()


def _pace(step: int, steps: int) -> float:
    """Return the learning rate's factor: a warm-up over the first 5 %, then half a cosine down to a hundredth."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def train_networks(data: TrainingData, report: Report = ignore, *, device: torch.device) -> Generator:
    """Train the networks of all members in one batched program."""
    trainer = Trainer(data, device=device)
    with one_thread(trainer.generator.uses_one_thread):
        return trainer.run(report)


def weights_of(generator: Generator) -> bytes:
    """Return the weights of networks, to be joined to those of other members by `join_members`."""
    return save({name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()})


def join_members(parts: Sequence[bytes], data: TrainingData) -> Generator:
    """Return one generator of all members, made of the `weights_of` each, in the order of the data's seeds.

    It is the one that `train_networks` comes to, as far as a member is the same alone (see `Trainer`).
    """
    states = [load(part) for part in parts]
    whole = {  # a member's numbers lie together; what has no dimension (steps of batch normalisation) is common
        name: torch.cat([state[name] for state in states]) if value.dim() else value
        for name, value in states[0].items()
    }
    generator = build(lambda: data.architecture.generator(data.sizes, data.architecture.widths))
    generator.load_state_dict(whole)
    return generator.eval()


@contextmanager
def one_thread(wanted: bool) -> abc.Generator[None]:
    """Let PyTorch use one CPU thread within the block, where that is wanted."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

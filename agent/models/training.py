"""How the networks learn: vicinity, schedule, averaging, one training step for all members at once.

Letters: b batch, m members, n training spectra, e elements and columns of the context, z noise, q points.
"""

import copy
import math
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from safetensors.torch import load, save
from torch import Tensor, nn

from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.layers import VECTORS, Sizes, build, skip
from glassmap.agent.models.losses import composition_error, judged_fake, judged_real, squared_error
from glassmap.agent.models.networks import Architecture, Discriminator, Generator
from glassmap.agent.progress import Report, ignore

REPORT_EVERY = 10  # steps; reading the loss waits for the device


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
    """The bandwidths of the vicinal losses, as distances of composition vectors (atomic fraction).

    Source: Ding et al., CcGAN (ICLR 2021), whose labels are scalars: κ there is the largest gap between neighbouring
    labels, here the largest distance of a training composition to its nearest neighbour; ν = 1/κ². Its σ, a normal
    reference rule, would smear a sparse set over its neighbours, so σ is `jitter` x the median of those distances.
    """

    sigma: float  # standard deviation of the jitter of target compositions
    kappa: float  # radius within which spectra are of the vicinity; weights fall off with the distance over it

    @classmethod
    def of(cls, compositions: Float[Tensor, "n e"], *, jitter: float) -> "Vicinity":
        """Return the bandwidths that follow from the training compositions; replicates don't count as neighbours."""
        distances = torch.cdist(compositions.double(), compositions.double())
        distances[distances < SAME_ALLOY] = math.inf  # torch has them to 1e-8, also from a row to itself
        nearest = distances.min(dim=1).values
        nearest = nearest[nearest.isfinite()]
        if len(nearest) == 0:
            return cls(0.0, 0.0)
        return cls(jitter * nearest.median().item(), nearest.max().item())


class Batch(NamedTuple):
    """What all members learn from in one step."""

    rows: Integer[Tensor, "b m"]  # the training spectrum that each generated one is held against
    targets: Float[Tensor, "b m e"]  # its composition, jittered
    noise: Float[Tensor, "b m z"]
    real: Integer[Tensor, "b m"]  # a measured spectrum from the vicinity of the target, for the discriminator
    weights: Float[Tensor, "b m"]  # of that measured spectrum, by its distance


class Trainer:
    """Generators, discriminators and their optimisers; `step` once, or `run` to the end.

    Every member has its own random stream, so that member k is the same network whatever stands beside it, and the
    device doesn't change what is drawn. On a CPU, dense networks that learn by fidelity alone (the preset `default`)
    are the same to the bit. Convolutions (the preset `paper`, and any discriminator) round otherwise with other
    numbers of members, and training makes more of that (docs/cluster.md).

    Args:
        data: Spectra that a member doesn't see neither pull nor judge it.
        device: Where to train.
    """

    def __init__(self, data: TrainingData, *, device: torch.device) -> None:
        self.config, self.device, self.sizes = data.config, device, data.sizes
        self.compositions, self.spectra = torch.tensor(data.compositions), torch.tensor(data.spectra).to(device)
        self.seen = [torch.nonzero(torch.tensor(mine)).squeeze(1) for mine in data.seen]
        self.streams = [torch.Generator().manual_seed(seed) for seed in data.seeds]
        self.vicinity = Vicinity.of(self.compositions, jitter=self.config.jitter)
        architecture, sizes = data.architecture, self.sizes
        self.generator = build(lambda: architecture.generator(sizes, architecture.widths), self.streams).to(device)
        self.generator.start_from(torch.stack([self.spectra[mine.to(device)].mean(0) for mine in self.seen]))
        self.averaged = copy.deepcopy(self.generator)
        self.optimisers = [(self._optimiser(self.generator), self.config.learning_rate)]
        self.critic = None
        if self.config.adversarial > 0 or self.config.composition > 0:
            self.critic = build(lambda: Discriminator(sizes, architecture.critic), self.streams).to(device)
            self.optimisers.append((self._optimiser(self.critic), self.config.critic_learning_rate))
        else:  # a seed then begins alike with a discriminator and without
            skip(lambda: Discriminator(sizes, architecture.critic), self.streams)
        self.done = 0

    def run(self, report: Report = ignore) -> Generator:
        """Train to the last step; return the generator with averaged weights, ready to generate.

        A seed gives the same network again also on a GPU, which sums the gradients of convolutions in any order else.
        """
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            return self._run(report)

    def _run(self, report: Report) -> Generator:
        while self.done < self.config.steps:
            mse = self.step()
            if self.done % REPORT_EVERY == 0 or self.done == self.config.steps:
                report("train", self.done, self.config.steps, f"MSE {mse.item():.1f}")
        return self.averaged.eval()

    def step(self) -> Float[Tensor, ""]:
        """Take one step with every member; return the MSE of the batch, mean over members, left on the device."""
        batch = self.draw()
        pace = _pace(self.done, self.config.steps)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
        fake = self.generator(batch.noise, batch.targets)
        if self.critic is not None:
            self._step_critic(self.critic, batch, fake.detach())
        mse = self._step_generator(batch, fake)
        self._average()
        self.done += 1
        return mse.detach()

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return Adam; fused, which is three times as fast, where every member's numbers fill whole processor vectors.

        The fused program rounds a last few numbers otherwise than the rest, and which those are depends on who is
        trained together.
        """
        whole: list[nn.Parameter] = []
        broken: list[nn.Parameter] = []
        for parameter in network.parameters():
            (broken if parameter.numel() // len(self.streams) % VECTORS else whole).append(parameter)
        groups = [{"params": whole, "fused": True}, {"params": broken}]
        return torch.optim.Adam(groups, betas=(self.config.momentum, 0.99))

    def _step_critic(self, critic: Discriminator, batch: Batch, fake: Float[Tensor, "b m q"]) -> None:
        scores, seen = critic(torch.cat([self.spectra[batch.real], fake]))  # (2 b, m), (2 b, m, e)
        (score_real, score_fake), seen = scores.chunk(2), seen[: len(fake)]
        true = self.compositions.to(self.device)[batch.real]
        recognised = (batch.weights * composition_error(seen, true)).mean(0)  # (m,)
        real = (batch.weights * judged_fake(score_real)).mean(0)
        loss = real + judged_real(score_fake).mean(0) + self.config.composition * recognised
        _descend(self.optimisers[1][0], loss)

    def _step_generator(self, batch: Batch, fake: Float[Tensor, "b m q"]) -> Float[Tensor, ""]:
        adversarial = composition = torch.zeros(fake.shape[1], device=self.device)
        if self.critic is not None:
            score, seen = self.critic(fake)
            adversarial = judged_fake(score).mean(0)  # (m,)
            composition = composition_error(seen, batch.targets).mean(0)
        mse = squared_error(fake, self.spectra[batch.rows])
        c = self.config
        _descend(
            self.optimisers[0][0],
            c.adversarial * adversarial + c.composition * composition + c.fidelity * mse / 100,
        )
        return mse.mean()

    def draw(self) -> Batch:
        """Draw targets near training compositions, and for each a measured spectrum from the target's vicinity."""
        b, n, e, z = self.config.batch_size, len(self.compositions), self.sizes.elements, self.generator.noise
        parts: list[tuple[Tensor, ...]] = []  # of each member, as the fields of `Batch`
        for stream, mine in zip(self.streams, self.seen, strict=True):
            row = mine[torch.randint(len(mine), (b,), generator=stream)]
            shift = self.vicinity.sigma * torch.randn(b, e, generator=stream)
            target = self.compositions[row].clone()
            target[:, :e] = target[:, :e] + shift - shift.mean(1, keepdim=True)  # sum 1 as before; the context stays
            pick, weight = row, torch.ones(b)
            if self.critic is not None:
                squared = torch.cdist(target, self.compositions).square()  # (b, n)
                near = torch.zeros(b, n, dtype=torch.bool)
                near[:, mine] = squared[:, mine] <= max(self.vicinity.kappa, 1e-9) ** 2
                near[torch.arange(b), row] = True
                pick = (torch.rand(b, n, generator=stream) * near).argmax(1)
                weight = torch.exp(-squared[torch.arange(b), pick] / max(self.vicinity.kappa, 1e-9) ** 2)
                weight = weight / weight.mean()
            parts.append((row, target, torch.randn(b, z, generator=stream), pick, weight))
        return Batch(*(torch.stack(part, dim=1).to(self.device) for part in zip(*parts, strict=True)))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.averaging, (1 + self.done) / (10 + self.done))
        new, old = self.generator.state_dict(), self.averaged.state_dict()
        for name, value in old.items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])


def _descend(optimiser: torch.optim.Optimizer, loss_of_members: Float[Tensor, " m"]) -> None:
    """Let each member descend on its own loss: by the sum's gradient, since members share no weight."""
    optimiser.zero_grad(set_to_none=True)
    loss_of_members.sum().backward()  # pyright: ignore[reportUnknownMemberType]
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

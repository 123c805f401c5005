"""How the ccGANs learn: losses, vicinity, schedule, averaging, one training step for all members at once.

Letters: b batch, m members, n training spectra, e elements, z noise, q points.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional

from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.networks import ARCHITECTURES, VECTORS, Architecture, Discriminator, Generator, MemberLinear


class Losses(NamedTuple):
    """The mean over members of each term, unweighted, at one step."""

    critic: float
    adversarial: float
    composition: float
    mse: float  # of the training batch, intensity 0-100


Report = Callable[[int, int, Losses], None]  # step, steps, losses
REPORT_EVERY = 10  # steps; reading the losses waits for the device


class Vicinity(NamedTuple):
    """The bandwidths of the vicinal losses, as distances of composition vectors (atomic fraction).

    Source: Ding et al., CcGAN (ICLR 2021), whose labels are scalars: κ there is the largest gap between neighbouring
    labels, here the largest distance of a training composition to its nearest neighbour; ν = 1/κ². Its σ, a normal
    reference rule, would smear a sparse set over its neighbours, so σ is `jitter` x the median of those distances.
    """

    sigma: float  # standard deviation of the jitter of target compositions
    kappa: float  # radius of the hard vicinity

    @classmethod
    def of(cls, compositions: Float[Tensor, "n e"], *, jitter: float) -> "Vicinity":
        """Bandwidths by rule from the training compositions; replicates don't count as neighbours."""
        distances = torch.cdist(compositions.double(), compositions.double())
        distances[distances < 1e-9] = math.inf
        nearest = distances.min(dim=1).values
        nearest = nearest[nearest.isfinite()]
        if len(nearest) == 0:
            return cls(0.0, 0.0)
        return cls(jitter * nearest.median().item(), nearest.max().item())


class Batch(NamedTuple):
    """One step's material of all members."""

    rows: Integer[Tensor, "b m"]  # the training spectrum that each generated one is held against
    targets: Float[Tensor, "b m e"]  # its composition, jittered
    noise: Float[Tensor, "b m z"]
    real: Integer[Tensor, "b m"]  # a measured spectrum from the vicinity of the target, for the discriminator
    weights: Float[Tensor, "b m"]  # of that measured spectrum, by its distance


class Trainer:
    """Generators, discriminators and their optimisers; `step` once, or `run` to the end.

    `seen` says which spectra each member learns from, all by default; the others neither pull nor judge it.
    Every member has its own random stream, so that member k is the same network whatever stands beside it, and the
    device doesn't change what is drawn. On a CPU, dense networks that learn by fidelity alone (the preset `default`)
    are the same to the bit. Convolutions (the preset `paper`, and any discriminator) round otherwise with other
    numbers of members, and training makes more of that (docs/cluster.md).
    """

    def __init__(
        self,
        compositions: Float[Tensor, "n e"],
        spectra: Float[Tensor, "n q"],
        *,
        config: TrainingConfig,
        seeds: list[int],
        device: torch.device,
        seen: Bool[Tensor, "m n"] | None = None,
    ) -> None:
        architecture = architecture_of(config)
        self.config, self.device, self.compositions, self.spectra = config, device, compositions, spectra.to(device)
        everything = torch.ones(len(seeds), len(spectra), dtype=torch.bool)
        self.seen = [torch.nonzero(mine).squeeze(1) for mine in (everything if seen is None else seen)]
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.vicinity = Vicinity.of(compositions, jitter=config.jitter)
        sizes = {"members": len(seeds), "elements": compositions.shape[1], "points": spectra.shape[1]}
        self.generator = initialise(Generator, architecture, sizes, self.streams).to(device)
        self.generator.start_from(torch.stack([self.spectra[mine.to(device)].mean(0) for mine in self.seen]))
        self.averaged = initialise(Generator, architecture, sizes).to(device)
        self.averaged.load_state_dict(self.generator.state_dict())
        self.critic = initialise(Discriminator, architecture, sizes, self.streams).to(device)
        self.generator_optimiser = self._optimiser(self.generator, config.learning_rate)
        self.critic_optimiser = self._optimiser(self.critic, config.critic_learning_rate)
        self.done = 0

    def run(self, report: Report | None = None) -> Generator:
        """Train to the last step; returns the generator with averaged weights, ready to generate."""
        while self.done < self.config.steps:
            terms = self.step()
            if report is not None and (self.done % REPORT_EVERY == 0 or self.done == self.config.steps):
                report(self.done, self.config.steps, Losses(*terms.tolist()))
        return self.averaged.eval()

    def step(self) -> Float[Tensor, "4"]:
        """One step of every member's discriminator and generator; returns the `Losses`, left on the device."""
        batch = self._draw()
        pace = _pace(self.done, self.config.steps)
        for optimiser, rate in (
            (self.generator_optimiser, self.config.learning_rate),
            (self.critic_optimiser, self.config.critic_learning_rate),
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
        fake = self.generator(batch.noise, batch.targets)
        critic = (
            self._step_critic(batch, fake.detach()) if self._is_adversarial else torch.zeros((), device=self.device)
        )
        terms = self._step_generator(batch, fake)
        self._average()
        self.done += 1
        return torch.stack([term.detach() for term in (critic, *terms)])

    def _optimiser(self, network: nn.Module, rate: float) -> torch.optim.Optimizer:
        """Adam; fused, which is three times as fast, where every member's numbers fill whole vectors of the processor.

        The fused program rounds a last few numbers otherwise than the rest, and which those are depends on who is
        trained together.
        """
        whole: list[nn.Parameter] = []
        broken: list[nn.Parameter] = []
        for parameter in network.parameters():
            (broken if parameter.numel() // len(self.streams) % VECTORS else whole).append(parameter)
        groups = [{"params": whole, "fused": True}, {"params": broken}]
        return torch.optim.Adam(groups, lr=rate, betas=(self.config.momentum, 0.99))

    @property
    def _is_adversarial(self) -> bool:
        return self.config.adversarial > 0 or self.config.composition > 0

    def _step_critic(self, batch: Batch, fake: Float[Tensor, "b m q"]) -> Tensor:
        scores, seen = self.critic(torch.cat([self.spectra[batch.real], fake]))  # (2 b, m), (2 b, m, e)
        (score_real, score_fake), seen = scores.chunk(2), seen[: len(fake)]
        true = self.compositions.to(self.device)[batch.real]
        real = (batch.weights * functional.softplus(-score_real)).mean(0)  # (m,)
        recognised = (batch.weights * (seen - true).square().mean(2)).mean(0)
        loss = real + functional.softplus(score_fake).mean(0) + self.config.composition * recognised
        _descend(self.critic_optimiser, loss)
        return loss.mean()

    def _step_generator(self, batch: Batch, fake: Float[Tensor, "b m q"]) -> tuple[Tensor, Tensor, Tensor]:
        adversarial = composition = torch.zeros(fake.shape[1], device=self.device)
        if self._is_adversarial:
            score, seen = self.critic(fake)
            adversarial = functional.softplus(-score).mean(0)  # (m,)
            composition = (seen - batch.targets).square().mean((0, 2))
        away = (fake - self.spectra[batch.rows]).transpose(0, 1)  # members in front, as in `Generator.forward`
        mse = away.square().mean((1, 2))
        c = self.config
        _descend(
            self.generator_optimiser,
            c.adversarial * adversarial + c.composition * composition + c.fidelity * mse / 100,
        )
        return adversarial.mean(), composition.mean(), mse.mean()

    def _draw(self) -> Batch:
        """Targets near training compositions, and for each a measured spectrum from the target's vicinity."""
        b, (n, e), z = self.config.batch_size, self.compositions.shape, self.generator.noise
        rows, targets, noise, real, weights = [], [], [], [], []
        for stream, mine in zip(self.streams, self.seen, strict=True):
            row = mine[torch.randint(len(mine), (b,), generator=stream)]
            shift = self.vicinity.sigma * torch.randn(b, e, generator=stream)
            target = self.compositions[row] + shift - shift.mean(1, keepdim=True)  # shares still sum to 1
            pick, weight = row, torch.ones(b)
            if self._is_adversarial:
                squared = torch.cdist(target, self.compositions).square()  # (b, n)
                near = torch.zeros(b, n, dtype=torch.bool)
                near[:, mine] = squared[:, mine] <= max(self.vicinity.kappa, 1e-9) ** 2
                near[torch.arange(b), row] = True
                pick = (torch.rand(b, n, generator=stream) * near).argmax(1)
                if self.config.vicinity == "soft":
                    weight = torch.exp(-squared[torch.arange(b), pick] / max(self.vicinity.kappa, 1e-9) ** 2)
                    weight = weight / weight.mean()
            rows.append(row)
            targets.append(target)
            noise.append(torch.randn(b, z, generator=stream))
            real.append(pick)
            weights.append(weight)
        return Batch(*(torch.stack(part, dim=1).to(self.device) for part in (rows, targets, noise, real, weights)))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.averaging, (1 + self.done) / (10 + self.done))
        new, old = self.generator.state_dict(), self.averaged.state_dict()
        for name, value in old.items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])


def architecture_of(config: TrainingConfig) -> Architecture:
    """Return the widths of the networks."""
    own = ARCHITECTURES[config.architecture]
    return replace(
        own,
        stem=own.stem if config.hidden is None else config.hidden,
        noise=own.noise if config.noise is None else config.noise,
    )


Network = TypeVar("Network", Generator, Discriminator)


def initialise(
    network: type[Network], architecture: Architecture, sizes: dict[str, int], streams: Sequence[torch.Generator] = ()
) -> Network:
    """Build a network with each member's weights drawn from its own stream (zeros without), none from the global one.

    Weights are uniform with variance 1 / inputs of the unit (LeCun et al., 1998), biases are zero.
    """
    with torch.device("meta"):
        module = network(architecture, **sizes)
    module.to_empty(device="cpu")
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_parameters()
        elif isinstance(layer, MemberLinear | nn.Conv1d | nn.ConvTranspose1d):
            linear = isinstance(layer, MemberLinear)
            inputs = layer.weight.shape[1] if linear else layer.in_channels // layer.groups * layer.kernel_size[0]
            assert layer.bias is not None, "every layer has a bias"
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            for stream, share in zip(streams, layer.weight.data.chunk(sizes["members"]), strict=False):
                share.uniform_(-((3 / inputs) ** 0.5), (3 / inputs) ** 0.5, generator=stream)
    return module


def _descend(optimiser: torch.optim.Optimizer, loss_of_members: Float[Tensor, " m"]) -> None:
    """One descent of each member on its own loss: the sum's gradient, since members share no weight."""
    optimiser.zero_grad(set_to_none=True)
    loss_of_members.sum().backward()
    optimiser.step()


def _pace(step: int, steps: int) -> float:
    """Learning-rate factor: a warm-up over the first 5 %, then half a cosine down to a hundredth."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

"""The networks as a base model: conditional generators, each learning all spectra but a fold.

They win where phases meet at sharp borders.

Letters: n training spectra, e elements, q points, k draws, m members, z noise, b alloys of a block.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glassmap.agent.models.base_model import (
    FOLDS,
    Known,
    PredictedBlock,
    Saved,
    TrainedBaseModel,
    blocks_of,
    on_cpu,
)
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.layers import Sizes, build, tensor_cores
from glassmap.agent.models.networks import Generator, architecture_of
from glassmap.agent.models.protocol import Prediction, stream_seed
from glassmap.agent.models.training import TrainFn, TrainingData, train_networks
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Compositions, Groups, Spectra

MOST_HIDDEN = 1 << 30  # numbers of the widest layer at once, of all spectra and members; some gigabytes in all
CANDIDATES = 24  # draws of noise, from which those are chosen that a member's mean is taken over
PLACES = 64  # alloys by whose spectra they are chosen, at most


@dataclass(frozen=True)
class NetworkEnsemble:
    """Generators, trained together; member k leaves out fold k, counted round and round.

    Source: Xie et al. 2025, Fig. 1; ensembles: Lakshminarayanan et al., NeurIPS 2017.
    """

    config: TrainingConfig
    device: torch.device
    train_fn: TrainFn | None = None
    """Trains the networks elsewhere, as `flows.compute.dask_cluster.Cluster.train` does; by default here."""
    context: int = 0
    """How many columns of a context stand behind the compositions."""

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups | None = None,
        report: Report = ignore,
    ) -> "TrainedNetworks":
        """Train every member on all spectra, `(n, q)`, 0-100, but its fold, in one batched program."""
        members = self.config.members
        none = np.full(len(spectra), -1)
        data = TrainingData(
            compositions.astype(np.float32),
            spectra.astype(np.float32),
            self.config,
            architecture_of(self.config),
            seeds=[stream_seed(seed, "member", member) for member in range(members)],
            seen=(none if folds is None else folds) != (np.arange(members) % FOLDS)[:, None],
            context=self.context,
        )
        train_fn = self.train_fn or partial(train_networks, device=self.device)
        generator = train_fn(data, report).to(self.device).eval()
        stream = torch.Generator().manual_seed(stream_seed(seed, "noise"))
        noise = torch.randn(CANDIDATES if generator.noise else 1, 1, members, generator.noise, generator=stream)
        trained = TrainedNetworks(generator, asdict(data.architecture.widths), noise.to(self.device))
        return replace(trained, noise=choose_noise(trained, compositions, data.architecture.draws))

    def leave_out(
        self,
        fold: int,
        trained: TrainedBaseModel,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups,
    ) -> "TrainedNetworks | None":
        """Return the members that left out the fold, repeated to as many as there are, so that each counts as there."""
        assert isinstance(trained, TrainedNetworks), "what `fit` returned"
        alone = range(fold, self.config.members, FOLDS)
        if not alone:
            return None
        return replace(trained, chosen=tuple(alone[member % len(alone)] for member in range(self.config.members)))

    def restore(self, saved: Saved, known: Known) -> "TrainedNetworks":
        """Return trained networks from what a checkpoint kept of them."""
        architecture = architecture_of(self.config)
        kept: dict[str, int | list[int] | tuple[int, ...]] = saved.facts["widths"]
        widths = {name: width if isinstance(width, int) else tuple(width) for name, width in kept.items()}
        tensors = dict(saved.tensors)
        noise = tensors.pop("noise").to(self.device)
        elements = known.compositions.shape[1] - self.context
        sizes = Sizes(self.config.members, elements, known.spectra.shape[1], self.context)
        generator = build(lambda: architecture.generator(sizes, type(architecture.widths)(**widths)))
        generator.load_state_dict({name.removeprefix("generator."): value for name, value in tensors.items()})
        return TrainedNetworks(generator.to(self.device).eval(), widths, noise)


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """Generators that have learned."""

    generator: Generator
    """All members in one."""
    widths: dict[str, Any]
    """They say how wide the generator's layers are."""
    noise: Float[Tensor, "k 1 m z"]
    """What the mean is taken over: the same for every composition, so that an alloy's spectrum doesn't depend on which
    others are asked for with it, and a map is smooth."""
    chosen: tuple[int, ...] | None = None
    """The members that predict; all by default."""
    extrapolates: ClassVar[bool] = True

    def predict_block(self, compositions: Float[Tensor, "b e"]) -> PredictedBlock:
        """Generate with every draw of noise that makes the mean, and every member."""
        many = len(compositions)
        draws = torch.stack([self._generate(z.expand(many, -1, -1), compositions) for z in self.noise])
        return PredictedBlock(draws if self.chosen is None else draws[:, :, list(self.chosen)])

    def draw_block(
        self, compositions: Float[Tensor, "b e"], stream: torch.Generator, *, alike: bool = False
    ) -> Float[Tensor, "b m q"] | None:
        """Generate with new noise and every member; None of deterministic generators."""
        if not self.generator.noise:
            return None
        many = len(compositions)
        size = (1 if alike else many, self.generator.members, self.generator.noise)
        noise = torch.randn(size, generator=stream).to(compositions.device)
        drawn = self._generate(noise.expand(many, -1, -1), compositions)
        return drawn if self.chosen is None else drawn[:, list(self.chosen)]

    @torch.inference_mode()
    def _generate(self, noise: Float[Tensor, "b m z"], compositions: Float[Tensor, "b e"]) -> Float[Tensor, "b m q"]:
        """Generate one spectrum an alloy and member, as many alloys at once as `MOST_HIDDEN` allows."""
        repeated = compositions.float()[:, None].expand(-1, self.generator.members, -1)
        at_once = max(1, MOST_HIDDEN // (self.generator.members * self.generator.widest))
        starts = range(0, len(repeated), at_once)
        with tensor_cores(repeated.device):
            parts = [self.generator(noise[k : k + at_once], repeated[k : k + at_once]) for k in starts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict mean, members, and their standard deviation; zeros where there is one member."""
        blocks = [self.predict_block(block) for block in blocks_of(compositions, self.noise.device)]
        members = on_cpu([block.members for block in blocks])
        std = members.std(1, ddof=1) if members.shape[1] > 1 else np.zeros_like(members[:, 0])
        return Prediction(on_cpu([block.mean for block in blocks]), members, std)

    def save(self) -> Saved:
        """Return weights, noise and widths."""
        weights = {f"generator.{name}": value for name, value in self.generator.state_dict().items()}
        return Saved({**weights, "noise": self.noise}, {"widths": self.widths})


def choose_noise(networks: TrainedNetworks, compositions: Compositions, draws: int) -> Float[Tensor, "k 1 m z"]:
    """Return the draws of each member's noise that together come nearest to the mean of all, one after the other.

    Four that are so chosen come as near to the mean of many as eight that aren't (docs/results.md), in half the time.
    They scatter less than draws do, so nothing but a mean is made of them.

    Args:
        networks: With all noise that there is to choose from.
        compositions: Alloys by whose spectra they are chosen.
        draws: How many are chosen.
    """
    every = -(-len(compositions) // PLACES)
    places = next(blocks_of(compositions[::every], networks.noise.device))
    generated = networks.predict_block(places).draws.transpose(1, 2)  # (k, m, b, q)
    total, left = torch.zeros_like(generated[0]), torch.zeros(generated.shape[:2], device=generated.device)
    mean = generated.mean(0)
    members, chosen = torch.arange(generated.shape[1], device=generated.device), list[Tensor]()
    for count in range(1, min(draws, len(generated)) + 1):
        best = (((total + generated) / count - mean).square().mean((2, 3)) + left).argmin(0)  # (m,)
        left[best, members] = torch.inf
        total = total + generated[best, members]
        chosen.append(networks.noise[best, 0, members])
    return torch.stack(chosen)[:, None]

"""What a model must do besides to stand in the stack: predict a block on its device, leave a fold out, be stored.

Where there is a context (`glassmap.agent.data.context`), its encoded columns stand behind the shares wherever a base
model is given compositions; usual samples that differ in it are about 1 apart, as compositions never are.

Letters: n training spectra, e elements and columns of the context, q points, k draws, m members, b alloys of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glassmap.agent.models.protocol import Prediction
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Compositions, Groups, Spectra

FOLDS = 5  # of the spectra
BLOCK = 256  # alloys predicted at once on a CPU
LARGEST_BLOCK = 64 * BLOCK
BYTES_OF_AN_ALLOY = 4 << 20  # of a GPU, enough for twenty spectra of 3743 points and what makes them


@dataclass(frozen=True, eq=False)
class PredictedBlock:
    """What a base model predicts of a block of alloys, on its device; intensity 0-100."""

    draws: Float[Tensor, "k b m q"]
    """Several draws of several members; 1 of either where the model is deterministic or single.

    They are chosen for their mean, so they scatter less than draws do; those are had from `draw_block`.
    """
    unknown: Float[Tensor, " b"] | None = None
    """How little the model knows there, from 0 (as at a measurement) to 1 (nothing); None where it can't tell."""

    @property
    def mean(self) -> Float[Tensor, "b q"]:
        """The mean over draws and members."""
        return self.draws.mean((0, 2))

    @property
    def members(self) -> Float[Tensor, "b m q"]:
        """Each member's mean over its draws."""
        return self.draws.mean(0)

    def rescaled(self, floor: float, scale: float) -> "PredictedBlock":
        """Return the same in another unit of intensity."""
        return PredictedBlock(floor + scale * self.draws, self.unknown)


class Known(NamedTuple):
    """The spectra that a stack has learned from; models that blend them share these, and a checkpoint has them once."""

    compositions: Float[Tensor, "n e"]  # atomic fraction, and the context; double precision
    spectra: Float[Tensor, "n q"]  # 0-100, single precision

    @classmethod
    def of(cls, compositions: Compositions, spectra: Spectra, device: torch.device) -> "Known":
        """Put what was measured on a device."""
        return cls(
            torch.tensor(compositions, dtype=torch.float64, device=device),
            torch.tensor(spectra, dtype=torch.float32, device=device),
        )


class Saved(NamedTuple):
    """What a checkpoint keeps of a trained base model, besides the `Known` spectra."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]  # JSON types


@runtime_checkable
class TrainedBaseModel(Protocol):
    """A base model that has learned; frozen."""

    extrapolates: ClassVar[bool]
    """Whether it may go beyond what was measured. One that doesn't takes over where others know nothing."""

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict as `TrainedModel` does."""
        ...

    def predict_block(self, compositions: Float[Tensor, "b e"]) -> PredictedBlock:
        """Predict a block of alloys, atomic fractions in double precision, on the model's device."""
        ...

    def draw_block(
        self, compositions: Float[Tensor, "b e"], stream: torch.Generator, *, alike: bool = False
    ) -> Float[Tensor, "b m q"] | None:
        """Draw once with every member what a measurement of each alloy may give, 0-100; None where it knows means only.

        Args:
            compositions: As of `predict_block`.
            stream: On the CPU; decides every random number.
            alike: With the same noise for every alloy, so that what is drawn of one depends on no other; by default
                alloys are independent.
        """
        ...

    def save(self) -> Saved:
        """Return what `BaseModel.restore` needs, beside the spectra learned from."""
        ...


@runtime_checkable
class BaseModel(Protocol):
    """A model that can stand in the stack."""

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups | None = None,
        report: Report = ignore,
    ) -> TrainedBaseModel:
        """Learn as `Model` does.

        Args:
            compositions: Atomic fractions `(n, e)`.
            spectra: `(n, q)`, intensity 0-100.
            seed: Decides every random number.
            folds: Fold of each spectrum, from 0 to `FOLDS`, -1 where none leaves it out; for models whose members
                each leave one out.
            report: Is told how far training is, where it takes long.
        """
        ...

    def leave_out(
        self,
        fold: int,
        trained: TrainedBaseModel,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups,
    ) -> TrainedBaseModel | None:
        """Return the model as it is without a fold's spectra; None where all of it has seen them.

        Args:
            fold: The one to do without.
            trained: What `fit` returned for the same material.
            compositions: As of `fit`.
            spectra: As of `fit`.
            seed: As of `fit`.
            folds: As of `fit`.
        """
        ...

    def restore(self, saved: Saved, known: Known) -> TrainedBaseModel:
        """Return a trained model from what a checkpoint kept of it, on the device of the `Known` spectra.

        Raises:
            KeyError: If something is missing.
        """
        ...


def block_size(device: torch.device) -> int:
    """Return how many alloys are predicted at once on a device: a GPU's memory decides, what is free of it doesn't.

    How many they are decides the last bits of each spectrum, so it is the same at all times on one machine.
    """
    if device.type != "cuda":
        return BLOCK
    fitting: int = cast(Any, torch.cuda).get_device_properties(device).total_memory // BYTES_OF_AN_ALLOY
    return min(max(BLOCK, 1 << (fitting.bit_length() - 1)), LARGEST_BLOCK)


def blocks_of(compositions: Compositions, device: torch.device) -> Iterator[Float[Tensor, "b e"]]:
    """Put compositions on a device, a block at a time, in double precision."""
    size = block_size(device)
    for start in range(0, len(compositions), size):
        yield torch.tensor(compositions[start : start + size], dtype=torch.float64, device=device)


def distances_to(known: Float[Tensor, "n e"], compositions: Float[Tensor, "b e"]) -> Float[Tensor, "b n"]:
    """Return the distance of each composition from each known one."""
    return cast(Tensor, cast(Any, torch.linalg).vector_norm(compositions[:, None] - known, dim=2))


def on_cpu(blocks: list[Tensor], axis: int = 0) -> np.ndarray:
    """Join blocks of single-precision figures as one array of doubles."""
    return torch.cat(blocks, dim=axis).cpu().numpy().astype(np.float64)

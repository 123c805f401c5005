"""An ensemble that goes from composition to spectrum: fit, predict, tell what it doesn't know, save and load.

By default it is conditional generators with noise, stacked with a Gaussian process and randomised trees: on a CPU small
ones that learn by the energy score of their draws, on a GPU convolutional ones that also learn against a discriminator.
The ccGAN of Xie et al. is the preset `paper`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glassmap.agent.data.context import Columns, Context, Encoding, Held, say_held
from glassmap.agent.errors import ModelError
from glassmap.agent.models.base_model import block_size, on_cpu
from glassmap.agent.models.base_models import Setup, base_models
from glassmap.agent.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.figure_forecast import FigureForecast
from glassmap.agent.models.protocol import stream_seed
from glassmap.agent.models.stacking import Stack, StackedBlock, Weights, fit_stack, with_forecasts
from glassmap.agent.models.training import TrainFn
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Axis, Compositions, Groups, PerSample, Spectra


class PredictedAlloys(NamedTuple):
    """What an ensemble predicts of a block of alloys, on its device, in the unit of what it learned from."""

    mean: Float[Tensor, "b q"]
    members: Float[Tensor, "b v q"]  # every member of every base model
    expected_error: Float[Tensor, " b"]  # root mean squared error expected of the mean; NaN where nobody can say
    unknown: Float[Tensor, " b"]  # how little is known there, 0 to 1; 0 where no base model tells
    inputs: Float[Tensor, "b i"]  # what was asked: atomic fractions, and an encoded context behind them


class EnsemblePrediction(NamedTuple):
    """What an ensemble predicts of some compositions, in the unit of what it learned from: intensity 0-100, or g(r)."""

    mean: Spectra  # of the base models by their weights, over members and noise
    sample: Spectra  # one draw of what may be measured, see `TrainedEnsemble.draws`; the paper judges single spectra
    epistemic_std: Spectra  # between members, base models and the nearest measured spectrum: what it doesn't know
    aleatoric_std: Spectra  # over noise, root mean square over members: what composition doesn't determine
    band: Spectra  # half-width about the mean that is to hold 90 % of measured points; NaN where nothing was left out


@dataclass(frozen=True)
class Ensemble:
    """Base models that learn together: by default conditional generators, a Gaussian process, and trees.

    The adversarial ccGAN of Xie et al. is the preset `paper` of `glassmap.agent.models.config.PRESETS`.

    Args:
        config: Architecture, losses and schedule.
        seed: Decides every random number of training and prediction.
        device: `auto` takes a CUDA device where there is one.
    """

    config: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = field(default=0, kw_only=True)
    device: str = field(default="auto", kw_only=True)

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        context: Context | None = None,
        wafers: Sequence[str] | None = None,
        q: Axis | None = None,
        report: Report = ignore,
        train_fn: TrainFn | None = None,
    ) -> "TrainedEnsemble":
        """Train all members on all spectra but a fold each, stack the base models, size the band.

        Args:
            compositions: Atomic fractions `(n, e)`.
            spectra: Intensities, 0-100 or not normalised (g(r)), `(n, q)`, on one axis.
            context: Process variables of the spectra, and at which values predictions are held; None where composition
                is all that is known.
            wafers: Which wafer each spectrum is of, empty where that isn't known; what a new one costs is learned.
            q: The spectra's axis in 1/Å, by which Δq and q1 of new measurements are foretold; None where it is no q.
            report: Is told every few steps how far training is.
            train_fn: Trains the networks elsewhere, as `glassmap.flows.compute.dask_cluster.Cluster.train` does.

        Raises:
            ModelError: If there is no spectrum to learn from, the two differ in length, or the device isn't there.
        """
        if not 0 < len(compositions) == len(spectra):
            raise ModelError(
                f"Training needs at least one spectrum, one for each composition; got {len(compositions)} compositions "
                f"and {len(spectra)} spectra. Measure a batch first."
            )
        device = resolve_device(self.device)
        encoding = None if context is None else Encoding.learned_from(context)
        inputs, width = compositions, 0
        if encoding is not None and context is not None:
            inputs, width = encoding.beside(compositions, context.columns), encoding.width
        config = self.config.on(gpu=device.type == "cuda")
        models = base_models(Setup(config, device, train_fn, width))
        stack = fit_stack(
            models,
            inputs,
            spectra,
            seed=self.seed,
            device=device,
            context=width,
            wafers=None if wafers is None else _numbered(wafers),
            q=q,
            report=report,
        )
        return TrainedEnsemble(config, self.seed, stack, context=encoding)


@dataclass(frozen=True, eq=False)
class TrainedEnsemble:
    """An ensemble that has learned, or was read from a checkpoint."""

    config: TrainingConfig
    seed: int
    stack: Stack
    axis: Axis = field(default_factory=lambda: np.empty(0))
    """The spectra's axis, shape `(q,)`, once saved."""
    record: dict[str, Any] = field(default_factory=dict)
    """What made it, once saved: training ids, elements, round."""
    context: Encoding | None = None
    """The process variables that it learned from, and at which values it predicts; None where it knows none."""

    @property
    def oof_mse(self) -> float:
        """Out-of-fold MSE: on the spectra of each fold, of what did not see it; NaN where every member saw all."""
        return self.stack.oof_mse

    @property
    def weights(self) -> Weights:
        """How much each base model counts, by its name; they sum to 1."""
        return self.stack.weights

    @property
    def learned_from(self) -> Compositions:
        """The alloys that it learned from, atomic fractions `(n, e)`."""
        width = 0 if self.context is None else self.context.width
        known = self.stack.known.compositions
        return known[:, : known.shape[1] - width].cpu().numpy()

    def held_at(self, held: Held) -> "TrainedEnsemble":
        """Return the same ensemble, which predicts at other values of its process variables.

        Raises:
            ModelError: If it knows none, not these, or learned from no spectrum with such a label.
        """
        if self.context is None:
            raise ModelError(f"The ensemble learned from compositions alone and can't be held at {say_held(held)}.")
        return replace(self, context=self.context.held_at(held))

    def predict(self, compositions: Compositions, *, context: Columns | None = None) -> EnsemblePrediction:
        """Predict mean, one sample, both standard deviations and the band of each composition's spectrum.

        Args:
            compositions: Atomic fractions `(n, e)`.
            context: The process variables of each; by default those at which the ensemble is held.

        Raises:
            ModelError: If the compositions have another number of elements.
        """
        weights, parts = self.stack.weights, list[tuple[Tensor, ...]]()
        stream = _stream(self.seed)
        for block in self._blocks(compositions, context):
            (sample,) = self.stack.draw(block, 1, stream)
            epistemic = block.epistemic_std(weights)
            aleatoric = self.stack.aleatoric_std(block)
            parts.append((block.mean(weights), sample, epistemic, aleatoric, self.stack.band(block, epistemic)))
        return EnsemblePrediction(*(on_cpu(list(part)) for part in zip(*parts, strict=True)))

    def draws(
        self, compositions: Compositions, count: int, seed: int, *, context: Columns | None = None
    ) -> Float[np.ndarray, "d n q"]:
        """Draw what measurements of each composition may give: independent spectra of the stack's whole distribution.

        What composition doesn't determine is in them, and what the ensemble doesn't know: see `Stack.draw`.

        Args:
            compositions: Atomic fractions `(n, e)`.
            count: Of draws of each.
            seed: Decides them; the same gives the same again for the same compositions in the same order.
            context: As of `predict`.

        Raises:
            ModelError: If the compositions have another number of elements.
        """
        stream, stack = _stream(seed), self.stack
        return on_cpu([stack.draw(block, count, stream) for block in self._blocks(compositions, context)], axis=1)

    def predict_blocks(
        self, compositions: Compositions, *, context: Columns | None = None
    ) -> Iterator[PredictedAlloys]:
        """Yield what is predicted, a block of alloys at a time.

        Args:
            compositions: As of `predict`.
            context: As of `predict`.

        Raises:
            ModelError: If the compositions have another number of elements.
        """
        for block in self._blocks(compositions, context):
            mean, unknown = block.mean(self.stack.weights), block.unknown
            unknown = torch.zeros(len(mean), device=mean.device) if unknown is None else unknown
            yield PredictedAlloys(mean, block.members(), self.stack.expect(block), unknown, block.asked)

    def disagreement(self, compositions: Compositions) -> PerSample:
        """Return the epistemic standard deviation of each composition's intensity, mean over the axis; shape `(n,)`.

        As the MSE does, it counts a spectrum's scale as much as its shape.
        """
        return on_cpu([block.epistemic_std(self.stack.weights).mean(1) for block in self._blocks(compositions)])

    @property
    def block_size(self) -> int:
        """How many alloys are predicted at once on its device."""
        return block_size(self.stack.known.compositions.device)

    @property
    def known_below(self) -> float:
        """The expected error below which an alloy is known, in the spectra's unit; NaN where nobody can say."""
        return math.nan if self.stack.expected_error is None else self.stack.expected_error.limit

    def expected_errors(self, compositions: Compositions) -> PerSample:
        """Return the root mean squared error expected of each composition's mean; NaN where nobody can say."""
        return on_cpu([self.stack.expect(block) for block in self._blocks(compositions)])

    @property
    def forecasts(self) -> Mapping[str, FigureForecast]:
        """What it says of a new measurement's figures, by their names, where it can say."""
        return self.stack.forecasts or {}

    def forecasting(self, q: Axis, *, wafers: Sequence[str] | None = None) -> "TrainedEnsemble":
        """Return the same ensemble, which also says how sure Δq and q1 are, if it is older than that; some seconds.

        Args:
            q: The axis of its spectra in 1/Å.
            wafers: Of what it learned from, as of `Ensemble.fit`.
        """
        if self.stack.forecasts is not None or not self.config.stacked:
            return self
        width = 0 if self.context is None else self.context.width
        device = self.stack.known.compositions.device
        models = base_models(Setup(self.config, device, None, width))
        models = {name: models[name] for name in self.stack.models}
        return replace(
            self,
            stack=with_forecasts(
                self.stack,
                models,
                seed=self.seed,
                q=q,
                context=width,
                wafers=None if wafers is None else _numbered(wafers),
            ),
        )

    def save(self, folder: Path, *, axis: Axis, record: dict[str, Any]) -> Path:
        """Write the checkpoint into `folder` under the hash of its content; return the path of its JSON half.

        Args:
            folder: Made where it doesn't exist.
            axis: The spectra's axis, shape `(q,)`, saved so that a checkpoint is enough to draw a spectrum.
            record: What made it: training ids, elements, round; JSON types only.
        """
        return write_checkpoint(Checkpoint(self.config, self.seed, self.stack, axis, record, self.context), folder)

    @classmethod
    def load(cls, path: Path, *, device: str = "auto") -> "TrainedEnsemble":
        """Read a checkpoint that `save` wrote; it predicts the same spectra bit for bit on the same device.

        Raises:
            ModelError: If either half is missing, cut off, changed, or of a later format.
        """
        return cls(*read_checkpoint(path, device=resolve_device(device)))

    def _blocks(self, compositions: Compositions, context: Columns | None = None) -> Iterator[StackedBlock]:
        """Ask the stack; without a context, at the values at which the ensemble is held."""
        learned = self.stack.known.compositions.shape[1] - (0 if self.context is None else self.context.width)
        if compositions.shape[1] != learned:
            raise ModelError(
                f"The ensemble was trained on {learned} elements, got compositions of {compositions.shape[1]}. "
                "Give the shares of the same elements in the same order."
            )
        if self.context is not None:
            compositions = self.context.beside(compositions, context)
        return self.stack.predict_blocks(compositions)


def resolve_device(device: str) -> torch.device:
    """Return the device by name; `auto` takes a CUDA device where there is one.

    Raises:
        ModelError: If the name is unknown or the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device must be auto, cpu or a CUDA device that is there, got {device!r} ({error})."
        ) from error
    return torch.device(device)


def _numbered(wafers: Sequence[str]) -> Groups:
    """Return a number for each wafer's spectra, -1 where the wafer isn't known."""
    names = np.array(wafers)
    return np.where(names == "", -1, np.unique(names, return_inverse=True)[1])


def _stream(seed: int) -> torch.Generator:
    """Return the random numbers of draws."""
    return torch.Generator().manual_seed(stream_seed(seed, "draws"))

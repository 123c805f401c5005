"""An ensemble of ccGANs: train the members together, generate, tell what they don't agree on, save and load."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agent.ccgan import ARCHITECTURES, Architecture, Generator
from agent.errors import ModelError
from agent.shapes import Axis, Compositions, Spectra, Weights
from agent.training import Report, Trainer, TrainingConfig, initialise

DRAWS = 4  # noise draws that a member's mean is taken over
_BLOCK = 256  # compositions generated at once


class Generated(NamedTuple):
    """What an ensemble says of some compositions, intensity 0-100."""

    mean: Spectra  # over members and noise
    sample: Spectra  # one draw of the first member: a single generated spectrum, as the paper judges it
    between: Spectra  # standard deviation between members: what the model doesn't know
    within: Spectra  # standard deviation over noise, root mean square over members: what composition doesn't determine


class Ensemble:
    """ccGANs that learn the same spectra from different starts; `fit` once, then `generate`.

    Args:
        config: Architecture, losses and schedule; see `agent.training.PRESETS`.
        seed: Decides every random number of training and generation.
        device: `auto` takes a CUDA device where there is one.

    Source: Xie et al. 2025, Fig. 1; ensembles: Lakshminarayanan et al., NeurIPS 2017.
    """

    generator: Generator
    """All members in one; there once trained or loaded."""
    floor: float
    """Intensity of the lowest point learned from where it is negative, else 0."""
    scale: float
    """Intensity of the highest point above the floor, in hundreds; 1 for spectra normalised to 100."""
    axis: Axis
    """Of a loaded checkpoint."""
    record: dict[str, Any]
    """What made a loaded checkpoint: training ids, elements, round."""

    def __init__(self, config: TrainingConfig | None = None, *, seed: int = 0, device: str = "auto") -> None:
        self.config = config or TrainingConfig()
        self.seed = seed
        self.device = resolve_device(device)

    def fit(self, compositions: Compositions, spectra: Spectra, *, report: Report | None = None) -> "Ensemble":
        """Train every member on all spectra, in one batched program.

        Args:
            compositions: Atomic fractions `(n, e)`.
            spectra: Intensities, 0-100 or not normalised (g(r)), `(n, q)`, on one axis.
            report: Called every few steps with the step, the number of steps and the losses.

        Raises:
            ModelError: If there is no spectrum to learn from, or the two differ in length.
        """
        if not 0 < len(compositions) == len(spectra):
            raise ModelError(
                f"Training needs at least one spectrum, one for each composition; got {len(compositions)} compositions "
                f"and {len(spectra)} spectra. Measure a batch first."
            )
        self.floor = min(0.0, float(spectra.min()))
        self.scale = (float(spectra.max()) - self.floor) / 100
        trainer = Trainer(
            torch.tensor(compositions, dtype=torch.float32),
            torch.tensor((spectra - self.floor) / self.scale, dtype=torch.float32),
            config=self.config,
            seeds=self._member_seeds(),
            device=self.device,
        )
        with _one_thread() if self.config.architecture == "compact" else nullcontext():
            self.generator = trainer.run(report)
        return self

    def generate(self, compositions: Compositions) -> Spectra:
        """The mean spectrum over members and noise, intensity 0-100, shape `(n, q)`."""
        return self.describe(compositions).mean

    def describe(self, compositions: Compositions) -> Generated:
        """Mean, one sample and both spreads of each composition's spectrum."""
        parts: list[list[Tensor]] = []
        for draws in self.draw_blocks(compositions):  # (k, b, m, q)
            members = draws.mean(0)
            within = draws.var(0).mean(1).sqrt() if len(draws) > 1 else torch.zeros_like(members[:, 0])
            between = members.std(1) if members.shape[1] > 1 else torch.zeros_like(members[:, 0])
            parts.append([members.mean(1), draws[0, :, 0], between, within])
        return Generated(*(torch.cat(part).cpu().numpy().astype(np.float64) for part in zip(*parts, strict=True)))

    def disagreement(self, compositions: Compositions) -> Weights:
        """How far members are apart on each composition: the spread between them, mean over the axis; shape `(n,)`."""
        blocks = [draws.mean(0).std(1, correction=0).mean(1) for draws in self.draw_blocks(compositions)]
        return torch.cat(blocks).cpu().numpy().astype(np.float64)

    def draw_blocks(self, compositions: Compositions) -> Iterator[Float[Tensor, "k b m q"]]:
        """Spectra of `DRAWS` noise draws and all members, a block of compositions at a time, on the ensemble's device.

        The noise of a draw is the same for every composition, so an alloy's spectrum doesn't depend on which others
        are asked for with it, and a map is smooth.

        Raises:
            ModelError: If the ensemble isn't trained, or the compositions have another number of elements.
        """
        generator = self._trained(compositions.shape[1])
        stream = torch.Generator().manual_seed(self._stream_seed("noise"))
        noise = torch.randn(DRAWS, 1, generator.members, generator.noise, generator=stream).to(self.device)
        for start in range(0, len(compositions), _BLOCK):
            block = torch.tensor(compositions[start : start + _BLOCK], dtype=torch.float32, device=self.device)
            block = block[:, None].expand(-1, generator.members, -1)
            with torch.inference_mode():
                draws = torch.stack([generator(z.expand(len(block), -1, -1), block) for z in noise])
                yield self.floor + self.scale * draws

    def save(self, folder: Path, *, axis: Axis, record: dict[str, Any]) -> Path:
        """Write the checkpoint into `folder` under the hash of its content; return the path of its JSON half.

        Args:
            folder: Made where it doesn't exist.
            axis: The spectra's axis, shape `(q,)`, saved so that a checkpoint is enough to draw a spectrum.
            record: What made it: training ids, elements, round; JSON types only.
        """
        folder.mkdir(parents=True, exist_ok=True)
        generator = self._trained()
        tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
        tensors["axis"] = torch.tensor(axis, dtype=torch.float64)
        text = json.dumps(
            {
                "format": 1,
                "config": self.config.model_dump(),
                "architecture": asdict(ARCHITECTURES[self.config.architecture]),
                "seed": self.seed,
                "floor": self.floor,
                "scale": self.scale,
                "elements": generator.elements,
                "points": generator.points,
                "code_version": version("glassmap"),
                "torch_version": torch.__version__,
                "record": record,
            },
            indent=1,
            sort_keys=True,
        )
        partial = folder / f".partial-{os.getpid()}.safetensors"
        save_file(tensors, partial)
        digest = hashlib.sha256(partial.read_bytes() + text.encode()).hexdigest()[:16]
        weights, description = folder / f"{digest}.safetensors", folder / f"{digest}.json"
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(weights)
        partial = folder / f".partial-{os.getpid()}.json"
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(description)
        return description

    @classmethod
    def load(cls, path: Path, *, device: str = "auto") -> "Ensemble":
        """Read a checkpoint that `save` wrote; it generates the same spectra bit for bit on the same device.

        Raises:
            ModelError: If either half is missing, cut off, changed, or of a later format.
        """
        try:
            text = path.read_text()
            description = json.loads(text)
            weights = path.with_suffix(".safetensors")
            digest = hashlib.sha256(weights.read_bytes() + text.encode()).hexdigest()[:16]
            if description["format"] != 1 or digest != path.stem:
                raise ValueError(f"format {description['format']}, content {digest}")
            ensemble = cls(TrainingConfig(**description["config"]), seed=description["seed"], device=device)
            tensors = load_file(weights)
            sizes = {
                "members": ensemble.config.members,
                "elements": description["elements"],
                "points": description["points"],
            }
            ensemble.floor, ensemble.scale = description["floor"], description["scale"]
            ensemble.axis = tensors.pop("axis").numpy()
            ensemble.record = description["record"]
            widths: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in description["architecture"].items()
            }
            ensemble.generator = initialise(Generator, Architecture(**widths), sizes)
            ensemble.generator.load_state_dict(tensors)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ValidationError) as error:
            raise ModelError(
                f"{path} is no whole checkpoint of this version ({type(error).__name__}: {error}). "
                "Restore the file and its .safetensors, or let `glassmap run` train the round again."
            ) from error
        ensemble.generator.to(ensemble.device).eval()
        return ensemble

    def _trained(self, n_elements: int | None = None) -> Generator:
        if not hasattr(self, "generator"):
            raise ModelError("The ensemble isn't trained. Call `fit` first, or `Ensemble.load` a checkpoint.")
        if n_elements not in (None, self.generator.elements):
            raise ModelError(
                f"The ensemble was trained on {self.generator.elements} elements, got compositions of {n_elements}. "
                "Give the shares of the same elements in the same order."
            )
        return self.generator

    def _member_seeds(self) -> list[int]:
        return [self._stream_seed("member", member) for member in range(self.config.members)]

    def _stream_seed(self, purpose: str, number: int = 0) -> int:
        sequence = np.random.SeedSequence([self.seed, sum(purpose.encode()), number])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one CPU thread.

    The compact network's layers are so small that threads wait for each other longer than they work: on two cores a
    step took 32 ms with one thread, and up to 280 ms with two while anything else ran.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(device: str) -> torch.device:
    """The device by name; `auto` takes a CUDA device where there is one.

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

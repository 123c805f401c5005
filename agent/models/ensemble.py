"""An ensemble of ccGANs: train the members together, generate, tell what they don't agree on, save and load.

Beside the networks stand a kernel smoother (`agent.models.gaussian_process`) and trees
(`agent.models.extra_trees`). Networks win where phases
meet at sharp borders, the smoother where spectra are noisy, few or hardly change, the trees far from measurements. Each
network leaves out a fold of the spectra; what has not seen it tells how to weigh the three, and how far off they are.
Only the smoother's kernel is chosen on all spectra, which makes no difference (docs/results.md).
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from pydantic import ValidationError
from safetensors.torch import load, load_file, save
from scipy.optimize import nnls
from torch import Tensor, nn

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.data.composition import distinct_alloys
from glassmap.agent.errors import ModelError
from glassmap.agent.models.config import CONFIDENCE, TrainingConfig
from glassmap.agent.models.extra_trees import Forest
from glassmap.agent.models.gaussian_process import Kernel, Smoother
from glassmap.agent.models.networks import Architecture, Generator
from glassmap.agent.models.training import Report, Trainer, architecture_of, initialise
from glassmap.agent.shapes import Axis, Compositions, PerPoint, PerSample, Spectra

DRAWS = 4  # noise draws that a member's mean is taken over, where it takes noise
GENERATED_AT_ONCE = 256  # compositions
FOLDS = 5  # of the spectra; member k leaves out fold k, counted round and round


class Generated(NamedTuple):
    """What an ensemble says of some compositions, in the units of what it learned from: intensity 0-100, or g(r)."""

    mean: Spectra  # of networks, smoother and trees by their weights, over noise
    sample: Spectra  # one draw of the first network, joined as the mean is; the paper judges single spectra
    between: Spectra  # standard deviation between networks, smoother, trees, nearest measured: what it doesn't know
    within: Spectra  # standard deviation over noise, root mean square over members: what composition doesn't determine
    band: Spectra  # half-width about the mean that is to hold 90 % of measured points; NaN where nothing was left out


class Lesson(NamedTuple):
    """What the networks of an ensemble learn from, and how; plain values, so that they can be trained elsewhere."""

    compositions: Float[np.ndarray, "n e"]  # float32
    spectra: Float[np.ndarray, "n q"]  # float32, 0-100
    config: TrainingConfig
    seeds: list[int]  # one a member
    seen: Bool[np.ndarray, "m n"]  # which spectra each member learns from


Teach = Callable[[Lesson, Report | None], Generator]


class Votes(NamedTuple):
    """How much each voice counts; they sum to 1."""

    networks: float
    smoother: float  # where it knows; as far as it doubts, this share is the trees'
    trees: float


class _Blends(NamedTuple):
    """What smoother and trees say of some compositions, and what they go by."""

    smoother: Float[Tensor, "b q"]
    trees: Float[Tensor, "b q"]
    doubt: Float[Tensor, " b"]  # of the smoother
    nearest: Float[Tensor, "b q"]  # the measured spectrum of the nearest alloy

    def beside(self, votes: Votes) -> Float[Tensor, "b q"]:
        """Their part in what all say; the less the smoother knows, the more the trees speak for it."""
        sure = votes.smoother * (1 - self.doubt[:, None])
        return sure * self.smoother + (1 - votes.networks - sure) * self.trees


class _Voices(NamedTuple):
    """What networks, smoother and trees say of some compositions; networks alone where the ensemble isn't stacked."""

    networks: Float[Tensor, "k b m q"]
    blends: _Blends | None

    def together(self, votes: Votes) -> Float[Tensor, "k b m q"]:
        """Each network, joined by smoother and trees."""
        if self.blends is None:
            return self.networks
        return votes.networks * self.networks + self.blends.beside(votes)[:, None]

    def mean(self, votes: Votes) -> Float[Tensor, "b q"]:
        """The mean of `together`, over noise and networks."""
        networks = self.networks.mean((0, 2))
        return networks if self.blends is None else votes.networks * networks + self.blends.beside(votes)

    def each(self) -> Float[Tensor, "b v q"]:
        """The networks, one by one, then smoother and trees."""
        beside = () if self.blends is None else (self.blends.smoother[:, None], self.blends.trees[:, None])
        return torch.cat([self.networks.mean(0), *beside], dim=1)

    def between(self, votes: Votes) -> Float[Tensor, "b q"]:
        """Standard deviation between all; and, as far as the smoother doubts, from the nearest measured spectrum.

        What is unlike anything measured nearby may be right, but nobody has seen it: where networks and smoother carry
        one phase too far, they agree with each other, and not with it (docs/results.md).
        """
        each = self.each()
        variance = each.var(1) if each.shape[1] > 1 else torch.zeros_like(each[:, 0])
        if self.blends is not None:
            variance = variance + self.blends.doubt[:, None] * (self.mean(votes) - self.blends.nearest).square()
        return variance.sqrt()


class _Beside(nn.Module):
    """Smoother and trees, and the spectra (0-100) that they blend."""

    spectra: Tensor  # (n, q)

    def __init__(self, spectra: Float[Tensor, "n q"], smoother: Smoother, forest: Forest) -> None:
        super().__init__()
        self.register_buffer("spectra", spectra)
        self.smoother, self.forest = smoother, forest

    def forward(self, compositions: Float[Tensor, "b e"]) -> _Blends:
        """What they say of some alloys, 0-100."""
        shares, doubt, nearest = self.smoother(compositions)
        return _Blends(
            (shares.float() @ self.spectra).clamp(0, 100),
            self.forest(compositions).float() @ self.spectra,
            doubt.float(),
            self.spectra[nearest],
        )


class Ensemble:
    """ccGANs that each learn all spectra but a fold, a smoother and trees; `fit` once, then `generate`.

    Args:
        config: Architecture, losses and schedule; see `glassmap.agent.models.config.PRESETS`.
        seed: Decides every random number of training and generation.
        device: `auto` takes a CUDA device where there is one.

    Source: Xie et al. 2025, Fig. 1; ensembles: Lakshminarayanan et al., NeurIPS 2017.
    """

    generator: Generator
    """The networks of all members in one; there once trained or loaded."""
    beside: _Beside | None
    """Smoother and trees; None where the ensemble isn't stacked."""
    votes: Votes
    """How much networks, smoother and trees count."""
    unseen_mse: float
    """MSE on the spectra of each fold, of what did not see it; NaN where every member saw all."""
    floor: float
    """Intensity of the lowest point learned from where it is negative, else 0."""
    scale: float
    """Intensity of the highest point above the floor, in hundreds; 1 for spectra normalised to 100."""
    quantile: float
    """Half-width of the band in expected sizes of the error; NaN where every member saw all spectra."""
    usual: PerPoint
    """Half the usual error at each point of the axis, on the spectra of each fold."""
    axis: Axis
    """Of a loaded checkpoint."""
    record: dict[str, Any]
    """What made a loaded checkpoint: training ids, elements, round."""

    def __init__(self, config: TrainingConfig | None = None, *, seed: int = 0, device: str = "auto") -> None:
        self.config = config or TrainingConfig()
        self.seed = seed
        self.device = resolve_device(device)

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        report: Report | None = None,
        teach: Teach | None = None,
    ) -> "Ensemble":
        """Train every member on all spectra but its fold, in one batched program; then weigh and size the band.

        Args:
            compositions: Atomic fractions `(n, e)`.
            spectra: Intensities, 0-100 or not normalised (g(r)), `(n, q)`, on one axis.
            report: Called every few steps with the step, the number of steps and the losses.
            teach: Trains the networks elsewhere, as `flows.compute.dask_cluster.Cluster.train` does; by default
                `train_networks`.

        Raises:
            ModelError: If there is no spectrum to learn from, or the two differ in length.
        """
        if not 0 < len(compositions) == len(spectra):
            raise ModelError(
                f"Training needs at least one spectrum, one for each composition; got {len(compositions)} compositions "
                f"and {len(spectra)} spectra. Measure a batch first."
            )
        self.floor = min(0.0, float(spectra.min()))
        self.scale = (float(spectra.max()) - self.floor) / 100 or 1.0  # 1 where every spectrum is 0
        scaled = self._scaled(spectra)
        folds = self._folds(compositions)
        left_out = np.arange(self.config.members) % FOLDS
        seen = folds != left_out[:, None]  # (m, n)
        lesson = Lesson(
            compositions.astype(np.float32), scaled.astype(np.float32), self.config, self._member_seeds(), seen
        )
        teach = teach or partial(train_networks, device=self.device)
        self.generator = teach(lesson, report).to(self.device).eval()
        self.beside, self.votes = None, Votes(1.0, 0.0, 0.0)
        self.unseen_mse, self.quantile, self.usual = math.nan, math.nan, np.zeros(spectra.shape[1])
        if self.config.stacked:
            kernel = Kernel.choose(compositions, scaled)
            self.beside, self.votes = self._learn_beside(compositions, spectra, kernel), Votes(1 / 3, 1 / 3, 1 / 3)
            self._weigh(compositions, spectra, folds, kernel)
        return self

    def _learn_beside(self, compositions: Compositions, spectra: Spectra, kernel: Kernel) -> _Beside:
        scaled = self._scaled(spectra)
        beside = _Beside(
            torch.tensor(scaled, dtype=torch.float32),
            Smoother.fit(compositions, kernel),
            Forest.fit(compositions, scaled, seed=self._stream_seed("trees") % 2**32),
        )
        return beside.to(self.device)

    def _folds(self, compositions: Compositions) -> Integer[np.ndarray, " n"]:
        """The fold of each spectrum; -1 where there are too few alloys, or none is to be left out.

        Spectra of one alloy share a fold: else what has not seen the one has seen the other. With the same seed, a
        spectrum keeps its fold when others are added after it.
        """
        _, first, alloy = distinct_alloys(compositions)
        n = len(first)
        if not self.config.stacked or n < 2 * FOLDS:
            return np.full(len(compositions), -1)
        rng = np.random.default_rng(self._stream_seed("folds"))
        folds = np.concatenate([rng.permutation(FOLDS) for _ in range(-(-n // FOLDS))])[:n]
        return folds[np.argsort(np.argsort(first))][alloy]  # alloys in the order of their first spectrum

    def _weigh(
        self, compositions: Compositions, spectra: Spectra, folds: Integer[np.ndarray, " n"], kernel: Kernel
    ) -> None:
        """Weigh networks, smoother and trees by what they say of spectra that they have not seen; size the band.

        The band is in the manner of conformal prediction (Lei et al., J. Am. Stat. Assoc. 113, 1094, 2018): the 90 %
        quantile of residual over expected size, which is the spread and half the usual residual at that point.
        Weights and band come from the same residuals, so what it really holds is measured (docs/results.md).
        """
        members = self.config.members
        left_out = [fold for fold in range(min(members, FOLDS)) if (folds == fold).any()]
        if not left_out:
            return
        heard: list[_Voices] = []
        for fold in left_out:
            unseen = folds == fold
            beside = self._learn_beside(compositions[~unseen], spectra[~unseen], kernel)
            alone = torch.arange(fold, members, FOLDS)
            alone = alone[torch.arange(members) % len(alone)]  # as many as in use, so that each counts as there
            for voices in self._voices(compositions[unseen], beside):
                heard.append(voices._replace(networks=voices.networks[:, :, alone]))
        truth = np.concatenate([spectra[folds == fold] for fold in left_out])

        def all_say(votes: Votes) -> Spectra:
            return _on_cpu([voices.mean(votes) for voices in heard])

        self.votes = Votes(*weigh([all_say(Votes(*each)) for each in np.eye(3).tolist()], truth))
        residuals = all_say(self.votes) - truth
        self.unseen_mse = float(np.square(residuals).mean())
        self.usual = 0.5 * np.sqrt(np.square(residuals).mean(0))
        between = _on_cpu([voices.between(self.votes) for voices in heard])
        expected = np.sqrt(np.square(between) + np.square(self.usual))
        self.quantile = float(np.quantile(np.abs(residuals) / np.maximum(expected, 1e-9), CONFIDENCE))

    def generate(self, compositions: Compositions) -> Spectra:
        """The mean spectrum (`Generated.mean`), shape `(n, q)`."""
        return self.describe(compositions).mean

    def describe(self, compositions: Compositions) -> Generated:
        """Mean, one sample, both spreads and the band of each composition's spectrum."""
        self._trained(compositions.shape[1])
        parts: list[list[Tensor]] = []
        usual = torch.as_tensor(self.usual, dtype=torch.float32, device=self.device)
        for voices in self._voices(compositions, self.beside):
            drawn = voices.together(self.votes)  # (k, b, m, q)
            between = voices.between(self.votes)
            within = drawn.var(0).mean(1).sqrt() if len(drawn) > 1 else torch.zeros_like(between)
            band = self.quantile * (between.square() + usual.square()).sqrt()
            parts.append([voices.mean(self.votes), drawn[0, :, 0], between, within, band])
        return Generated(*(_on_cpu(part) for part in zip(*parts, strict=True)))

    def disagreement(self, compositions: Compositions) -> PerSample:
        """The spread (`Generated.between`) on each composition, mean over the axis; shape `(n,)`."""
        return _on_cpu([voices.between(self.votes).mean(1) for voices in self._voices(compositions, self.beside)])

    def hear_blocks(self, compositions: Compositions) -> Iterator[tuple[Float[Tensor, "b q"], Float[Tensor, "b v q"]]]:
        """The mean spectrum, and what each network, smoother and trees say: a block of alloys at a time, on the device.

        The noise of a draw is the same for every composition, so an alloy's spectrum doesn't depend on which others
        are asked for with it, and a map is smooth.

        Raises:
            ModelError: If the ensemble isn't trained, or the compositions have another number of elements.
        """
        for voices in self._voices(compositions, self.beside):
            yield voices.mean(self.votes), voices.each()

    def _voices(self, compositions: Compositions, beside: _Beside | None) -> Iterator[_Voices]:
        """What networks, smoother and trees say each, a block of compositions at a time."""
        generator = self._trained(compositions.shape[1])
        stream = torch.Generator().manual_seed(self._stream_seed("noise"))
        times = DRAWS if generator.noise else 1
        noise = torch.randn(times, 1, generator.members, generator.noise, generator=stream).to(self.device)
        for start in range(0, len(compositions), GENERATED_AT_ONCE):
            rows = compositions[start : start + GENERATED_AT_ONCE]
            block = torch.tensor(rows, dtype=torch.float64, device=self.device)
            repeated = block.float()[:, None].expand(-1, generator.members, -1)
            with torch.inference_mode():
                draws = torch.stack([generator(z.expand(len(block), -1, -1), repeated) for z in noise])
                blends = None if beside is None else beside(block)
                if blends is not None:
                    blends = blends._replace(
                        **{name: self._unscaled(getattr(blends, name)) for name in ("smoother", "trees", "nearest")}
                    )
            yield _Voices(self._unscaled(draws), blends)

    def _scaled(self, spectra: Spectra) -> Spectra:
        return (spectra - self.floor) / self.scale

    def _unscaled(self, spectra: Tensor) -> Tensor:
        return self.floor + self.scale * spectra

    def save(self, folder: Path, *, axis: Axis, record: dict[str, Any]) -> Path:
        """Write the checkpoint into `folder` under the hash of its content; return the path of its JSON half.

        Args:
            folder: Made where it doesn't exist.
            axis: The spectra's axis, shape `(q,)`, saved so that a checkpoint is enough to draw a spectrum.
            record: What made it: training ids, elements, round; JSON types only.
        """
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"generator": self._trained(), "beside": self.beside}
        tensors = {
            f"{part}.{name}": value.detach().cpu().contiguous()
            for part, module in parts.items()
            if module is not None
            for name, value in module.state_dict().items()
        }
        tensors |= {"axis": torch.tensor(axis, dtype=torch.float64), "usual": torch.tensor(self.usual)}
        text = json.dumps(
            {
                "format": 3,
                "config": self.config.model_dump(),
                "architecture": asdict(architecture_of(self.config)),
                "seed": self.seed,
                "floor": self.floor,
                "scale": self.scale,
                "votes": self.votes,
                "quantile": None if math.isnan(self.quantile) else self.quantile,
                "unseen_mse": None if math.isnan(self.unseen_mse) else self.unseen_mse,
                "elements": self.generator.elements,
                "points": self.generator.points,
                "code_version": version("glassmap"),
                "torch_version": torch.__version__,
                "record": record,
            },
            indent=1,
            sort_keys=True,
        )
        contents = {"safetensors": save(tensors), "json": text.encode()}
        digest = hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
        for suffix, content in contents.items():  # the JSON half last: where it is, the other is
            write_whole(folder / f"{digest}.{suffix}", content)
        return folder / f"{digest}.json"

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
            if description["format"] != 3 or digest != path.stem:
                raise ValueError(f"format {description['format']}, content {digest}")
            ensemble = cls(TrainingConfig(**description["config"]), seed=description["seed"], device=device)
            tensors = load_file(weights)
            sizes = {
                "members": ensemble.config.members,
                "elements": description["elements"],
                "points": description["points"],
            }
            for figure in ("floor", "scale", "quantile", "unseen_mse"):
                setattr(ensemble, figure, math.nan if description[figure] is None else description[figure])
            ensemble.votes = Votes(*description["votes"])
            ensemble.usual = tensors.pop("usual").numpy()
            ensemble.axis = tensors.pop("axis").numpy()
            ensemble.record = description["record"]
            widths: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in description["architecture"].items()
            }
            ensemble.generator = initialise(Generator, Architecture(**widths), sizes)
            ensemble.generator.load_state_dict(_of(tensors, "generator"))
            ensemble.beside = None
            if beside := _of(tensors, "beside"):
                smoother, forest = Smoother(**_of(beside, "smoother")), Forest(**_of(beside, "forest"))
                ensemble.beside = _Beside(beside["spectra"], smoother, forest)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ValidationError) as error:
            raise ModelError(
                f"{path} is no whole checkpoint of this version ({type(error).__name__}: {error}). "
                "Restore the file and its .safetensors; a campaign of an earlier version has to be begun anew."
            ) from error
        ensemble.generator.to(ensemble.device).eval()
        if ensemble.beside is not None:
            ensemble.beside.to(ensemble.device)
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


def weigh(said: Sequence[Spectra], truth: Spectra) -> list[float]:
    """The weights, none negative, sum 1, with which several predictions together come nearest to the truth.

    Least squares. A spectrum counts the less the farther all are off, by the root of its mean squared error: else the
    few that nobody foresees, of a phase that was never seen, would decide for all others (docs/results.md).

    Args:
        said: Predictions, each `(n, q)`.
        truth: `(n, q)`.
    """
    errors = np.stack(said) - truth  # (v, n, q)
    size = np.sqrt(np.square(errors).mean((0, 2)))  # (n,)
    errors = errors / np.sqrt(np.where(size > 0, size, 1))[:, None]
    products = np.einsum("vnq,wnq->vw", errors, errors)
    values, vectors = np.linalg.eigh(products)
    roots = np.sqrt(values.clip(0))[:, None] * vectors.T  # |roots @ w|² is the error of weights w
    heavy = 1e3 * max(np.sqrt(np.trace(products)), 1e-9)  # holds the sum at 1
    weights, _ = nnls(np.vstack([roots, np.full(len(said), heavy)]), np.append(np.zeros(len(said)), heavy))
    return (weights / weights.sum()).tolist()


def _on_cpu(blocks: Sequence[Tensor]) -> np.ndarray:
    return torch.cat(list(blocks)).cpu().numpy().astype(np.float64)


def _of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part, by their names within it."""
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}


def train_networks(lesson: Lesson, report: Report | None = None, *, device: torch.device) -> Generator:
    """Train the networks of all members in one batched program."""
    trainer = Trainer(
        torch.tensor(lesson.compositions),
        torch.tensor(lesson.spectra),
        config=lesson.config,
        seeds=lesson.seeds,
        device=device,
        seen=torch.tensor(lesson.seen),
    )
    with one_thread(lesson.config):
        return trainer.run(report)


def state_of(generator: Generator) -> bytes:
    """The weights of networks, to be `joined` to those of other members."""
    return save({name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()})


def joined(parts: Sequence[bytes], lesson: Lesson) -> Generator:
    """One generator of all members out of the `state_of` each, in the order of the lesson's seeds.

    It is the one that `train_networks` comes to, as far as a member is the same alone (see `Trainer`).
    """
    states = [load(part) for part in parts]
    whole = {  # a member's numbers lie together; what has no dimension (steps of batch normalisation) is common
        name: torch.cat([state[name] for state in states]) if value.dim() else value
        for name, value in states[0].items()
    }
    sizes = {
        "members": len(parts),
        "elements": lesson.compositions.shape[1],
        "points": lesson.spectra.shape[1],
    }
    generator = initialise(Generator, architecture_of(lesson.config), sizes)
    generator.load_state_dict(whole)
    return generator.eval()


@contextmanager
def one_thread(config: TrainingConfig) -> Iterator[None]:
    """Let PyTorch use one CPU thread while the compact network is trained.

    Its layers are so small that threads wait for each other longer than they work: on two cores a step took 32 ms with
    one thread, and up to 280 ms with two while anything else ran.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if config.architecture == "compact" else before)
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

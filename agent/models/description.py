"""What an ensemble is, said truly: read off its checkpoint, without its weights and without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glassmap.agent.models.config import PRESETS

NAMES = {"gaussian_process": "Gaussian process"}  # of base models, where their name is no word
HARDLY = 0.05  # a weight below which a base model hardly counts
# Terms of the loss that a weight above 0 switches on, in words
TERMS = {
    "energy": "energy score",
    "fidelity": "fidelity",
    "adversarial": "discriminator",
    "gradient_penalty": "gradient penalty",
    "composition": "composition head",
}


class Described(NamedTuple):
    """What an ensemble is, in the words of its settings and its checkpoint."""

    architecture: str  # what `auto` became
    device: str | None  # where it was trained, `cpu` or `cuda`; None where the checkpoint doesn't say
    members: int
    noise: int  # numbers that each generated spectrum is drawn with; 0 where an alloy has one spectrum alone
    terms: Mapping[str, float]  # weights of the loss's terms that are on, by their names in the settings
    weights: Mapping[str, float]  # of the base models in the mean spectrum; they sum to 1

    @property
    def kind(self) -> str:
        """What its networks are, in the plural."""
        return kind_of(self.terms, is_generative=self.noise > 0)

    @property
    def sentence(self) -> str:
        """What it is, for a person."""
        noise = f" with {self.noise} noise numbers" if self.noise else ""
        place = {None: "", "cpu": " on a CPU", "cuda": " on a GPU"}.get(self.device, f" on {self.device}")
        terms = ", ".join(f"{TERMS[name]} {weight:g}" for name, weight in self.terms.items())
        told = f"{self.members} {self.kind}{noise} ({self.architecture}, trained{place} by {terms})"
        if len(self.weights) > 1:
            heaviest = sorted(self.weights.items(), key=lambda item: -item[1])
            told += ", stacked by weight: " + ", ".join(f"{NAMES.get(n, n)} {w:.2f}" for n, w in heaviest)
            told += "; the networks hardly count here" if self.weights.get("networks", 1) < HARDLY else ""
            drawn = "a draw of a network is, or " if self.noise else ""
            told += f". A sample is the mean and as far off as {drawn}a spectrum nearby that was left out"
        else:
            told += ", alone" if self.noise else ", alone. Nothing is drawn at random: samples are its members"
        return f"{told}."

    def to_json(self) -> dict[str, Any]:
        """Return all fields, the sentence, and what the preset `paper` would be, in JSON types."""
        told = {"kind": self.kind, "is_generative": self.noise > 0, "sentence": self.sentence}
        return (
            self._asdict() | {"terms": dict(self.terms), "weights": dict(self.weights)} | told | {"paper": AS_PUBLISHED}
        )


def read_description(path: Path) -> Described | None:
    """Return what the ensemble of a checkpoint is; None where the file can't be read, or is of a version that is gone.

    Args:
        path: Of the JSON half.
    """
    try:
        facts = json.loads(path.read_text())
        config, networks = facts["config"], facts.get("models", {}).get("networks", {})
        return Described(
            architecture=config["architecture"],
            device=facts.get("device"),
            members=config["members"],
            noise=networks["widths"]["noise"],
            terms=terms_on(config),
            weights={str(name): float(weight) for name, weight in facts["weights"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def terms_on(model: Mapping[str, Any]) -> dict[str, float]:
    """Return the weights of the loss's terms that settings of any version switch on."""
    return {name: float(model[name]) for name in TERMS if model.get(name)}


def kind_of(terms: Mapping[str, float], *, is_generative: bool) -> str:
    """Return what networks trained by these terms are, in the plural: without a discriminator they are no GANs."""
    if "adversarial" in terms:
        return "conditional GANs"
    return "conditional generators" if is_generative else "deterministic conditional generators"


def _as_published() -> str:
    """Return what the ensemble would be by the preset `paper`, in a sentence."""
    paper = PRESETS["paper"]
    kind = kind_of(terms_on(paper.model_dump()), is_generative=True)
    alone = "" if paper.stacked else ", alone: without Gaussian process, trees and band"
    return f"With `--preset paper` it would be {paper.members} {kind} of the published size{alone}."


AS_PUBLISHED = _as_published()

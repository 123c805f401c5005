"""How an ensemble is trained, as a campaign file says it; settings need this file, and it needs no torch."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CONFIDENCE = 0.9  # share of measured points that the band of a prediction is to hold
# Where each architecture stands, `module:NAME`; resolved when networks are built, so that settings need no torch.
ARCHITECTURES = {
    "compact": "glassmap.agent.models.networks:COMPACT",
    "large": "glassmap.agent.models.networks:LARGE",
    "paper": "glassmap.agent.models.networks:PAPER",
}
AUTO = "auto"  # compact on a CPU, large on a GPU, each with its own terms
# Settings of earlier versions that are gone, with the value that they had by default
RETIRED: dict[str, Any] = {"hidden": None, "noise": None}
# What came later, with the value that says what was done before
LATER: dict[str, Any] = {
    "architecture": "compact",
    "stacked": False,
    "energy": 0.0,
    "gradient_penalty": 0.0,
    "vicinity": "soft",
}

Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _known_architecture(name: str) -> str:
    if name not in (AUTO, *ARCHITECTURES):
        raise ValueError(f"must be one of {', '.join((AUTO, *ARCHITECTURES))}, got {name!r}")
    return name


class TrainingConfig(BaseModel):
    """Everything that decides how an ensemble is trained; the defaults are the preset `default`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    architecture: Annotated[str, AfterValidator(_known_architecture), Field(examples=[AUTO, *ARCHITECTURES])] = AUTO
    """The networks; auto is compact on a CPU, and large, with its own terms, on a GPU."""
    members: Annotated[int, Field(gt=0, le=1000)] = 5
    """Networks of the ensemble."""
    stacked: bool = True
    """Whether networks are stacked with a Gaussian process and trees, each leaving out a fold of spectra."""
    steps: Annotated[int, Field(gt=0, le=10_000_000)] = 2500
    """Training steps of each network."""
    batch_size: Annotated[int, Field(gt=0, le=1_000_000)] = 32
    """Spectra a training step."""
    learning_rate: Rate = 2e-3
    """Learning rate of the generators (Adam)."""
    critic_learning_rate: Rate = 5e-4
    """Learning rate of the discriminators, where there are any."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Adam's first decay; its second is 0.99."""
    energy: Weight = 1.0
    """Weight of the energy score of two draws, per 10 units of RMS intensity."""
    fidelity: Weight = 1.0
    """Weight of the squared difference to the measured spectrum, per 100 units of MSE."""
    adversarial: Weight = 0.0
    """Weight of passing for a measured spectrum before the discriminator; 0 trains none."""
    gradient_penalty: Weight = 0.0
    """Weight of the discriminator's squared slope a unit of RMS intensity, R1 and R2."""
    composition: Weight = 0.0
    """Weight of the composition that the discriminator believes to see."""
    vicinity: Literal["soft", "hard"] = "soft"
    """How spectra near a target composition stand for it before the discriminator."""
    jitter: Weight = 0.0
    """Noise on target compositions, in units of the median distance to the nearest neighbour."""
    averaging: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the averaged generator weights, a step."""

    @property
    def is_generative(self) -> bool:
        """Whether a term rewards draws that differ; without one the networks take no noise."""
        return self.energy > 0 or self.adversarial > 0

    def on(self, *, gpu: bool) -> "TrainingConfig":
        """Return the settings on a device: `auto` becomes the preset `large` on a GPU, `compact` on a CPU.

        The defaults are those of `compact`, so on a CPU every setting holds as it stands. On a GPU one that differs
        from its default holds, and one that doesn't is the preset's; name an architecture, and all hold as they stand.
        """
        if self.architecture != AUTO:
            return self
        chosen = {name: value for name, value in self if value != type(self).model_fields[name].default}
        return PRESETS["large" if gpu else "compact"].model_copy(update=chosen)


PRESETS = {  # each says what differs from the defaults
    "default": TrainingConfig(),
    # Ours, for two CPU cores. Generative by the energy score alone: a discriminator adds nothing to it that would be
    # worth four times the time (docs/results.md).
    "compact": TrainingConfig(architecture="compact"),
    # Ours, for a GPU: the published chain at half its width, as compact and with a discriminator besides.
    "large": TrainingConfig(
        architecture="large",
        learning_rate=1e-3,
        critic_learning_rate=1e-3,
        momentum=0.0,
        adversarial=1.0,
        gradient_penalty=0.15,
        jitter=0.25,
        averaging=0.995,
    ),
    # The published network. The paper says neither how its parts are paired and held in check, nor for how long, how
    # fast and on what batches it learns: terms are chosen on narrow networks, the rate by a run of the full width
    # (docs/results.md). Fidelity to the mean of two draws leaves their spread to the discriminator.
    "paper": TrainingConfig(
        architecture="paper",
        stacked=False,
        learning_rate=7e-4,
        critic_learning_rate=7e-4,
        momentum=0.0,
        energy=0.0,
        adversarial=1.0,
        gradient_penalty=0.15,
        composition=0.1,
        jitter=0.5,
        averaging=0.995,
    ),
}

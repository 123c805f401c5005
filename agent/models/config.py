"""How an ensemble is trained, as a campaign file says it; settings need this file, and it needs no torch."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CONFIDENCE = 0.9  # share of measured points that the band of a prediction is to hold
# Where each architecture stands, `module:NAME`; resolved when networks are built, so that settings need no torch.
ARCHITECTURES = {
    "compact": "glassmap.agent.models.networks:COMPACT",
    "paper": "glassmap.agent.models.networks:PAPER",
}
# Settings of earlier versions that are gone, with the value that they had by default
RETIRED: dict[str, Any] = {"hidden": None, "noise": None, "vicinity": "soft"}

Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        raise ValueError(f"must be one of {', '.join(ARCHITECTURES)}, got {name!r}")
    return name


class TrainingConfig(BaseModel):
    """Everything that decides how an ensemble is trained; the defaults are the preset `default`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Annotated[str, AfterValidator(_known_architecture)] = "compact"
    members: Annotated[int, Field(gt=0, le=1000)] = 10
    stacked: bool = True  # the networks are stacked with the other base models, and each leaves out a fold of spectra
    steps: Annotated[int, Field(gt=0, le=10_000_000)] = 1500
    batch_size: Annotated[int, Field(gt=0, le=1_000_000)] = 32
    learning_rate: Rate = 2e-3
    critic_learning_rate: Rate = 5e-4
    momentum: float = Field(default=0.9, ge=0, lt=1)  # Adam's first decay; its second is 0.99
    adversarial: Weight = 0.0  # weight of fooling the discriminator
    composition: Weight = 0.0  # weight of the composition that the discriminator believes to see
    fidelity: Weight = 1.0  # weight of the squared difference to the measured spectrum, per 100 units of MSE
    jitter: Weight = 0.0  # of target compositions, in units of the median nearest-neighbour distance
    averaging: float = Field(default=0.99, ge=0, lt=1)  # decay of the averaged generator weights, a step


PRESETS = {
    # Fidelity alone, without noise: what the discriminator added in docs/results.md was not worth its time.
    "default": TrainingConfig(),
    # The published network and its terms. The paper gives neither step count, batch size nor learning rate: these
    # are the usual ones of DCGAN (Radford et al., 2016), long enough for the losses to settle.
    "paper": TrainingConfig(
        architecture="paper",
        members=5,
        stacked=False,
        steps=6000,
        batch_size=32,
        learning_rate=2e-4,
        critic_learning_rate=2e-4,
        momentum=0.5,
        adversarial=1.0,
        composition=10.0,
        fidelity=0.0,
        jitter=0.5,
        averaging=0.999,
    ),
}

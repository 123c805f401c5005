"""A made-up instrument: a furnace that answers with the spectrum of a glass. All that a new backend takes is here."""

import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from glassmap.agent.config.backends import BackendSettings
from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.config.space import SpaceConfig, SpectrumConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.store.records import Suggestion
from glassmap.flows.backends.protocol import Backend, Event, Failed, Ledger, Measured, Progress
from tests.support.laboratory import true_spectrum


class Settings(BackendSettings):
    """How the furnace is run."""

    free: ClassVar = ("at_once",)

    gain: float = 1.0
    breaks: str | None = None  # id of the alloy that breaks it
    at_once: PositiveInt | None = None  # alloys that one look finds done; by default all, and nobody has to look again

    def check(self, space: SpaceConfig, spectrum: SpectrumConfig) -> None:
        if "Hg" in space.elements:
            raise ValueError("a furnace melts no Hg")


def open_backend(settings: Settings, config: CampaignConfig, folder: Path) -> "Furnace":
    return Furnace(settings, config.space.build())


class Furnace(Backend):
    axis_name = "q"
    source = "a furnace"
    needs_screening = False

    def __init__(self, settings: Settings, space: CompositionSpace) -> None:
        self._settings, self._space = settings, space
        self.axis = np.linspace(1.5, 4.5, 96)
        self.is_asynchronous = settings.at_once is not None
        self.fingerprint = hashlib.sha256(f"{settings.gain} {space.elements}".encode()).hexdigest()

    def candidates(self) -> CompositionSpace:
        return self._space

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Event]:
        for suggestion in pending[: self._settings.at_once]:
            if suggestion.id == self._settings.breaks:
                yield Failed(suggestion, "The crucible broke.")
                continue
            yield Progress(suggestion, 0.5)
            composition = np.array(suggestion.composition)
            counts = self._settings.gain * true_spectrum(composition, self.axis)
            yield Measured(suggestion, composition, 100 * counts / counts.max(), {"counts": float(np.median(counts))})
            assert suggestion not in ledger.suggestions(pending=True), "what was told is recorded when it goes on"

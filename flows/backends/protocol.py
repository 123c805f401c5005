"""Who measures: the shape of a backend, and what it tells."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.shapes import Axis, Composition, Compositions, Spectra, Spectrum
from glassmap.agent.store.records import Suggestion


class Measurement(NamedTuple):
    """What a backend found for one suggestion."""

    suggestion: Suggestion
    composition: Composition  # measured, atomic fraction; the model learns from this one
    spectrum: Spectrum  # prepared, on the backend's axis
    facts: dict[str, Any] = {}  # what else was found, JSON types  # noqa: RUF012


class Failure(NamedTuple):
    """A suggestion that this backend can't measure, whatever is tried."""

    suggestion: Suggestion
    reason: str
    cpu_seconds: float = 0.0  # that trying has cost


class Progress(NamedTuple):
    """How far the measurement of a suggestion is."""

    suggestion: Suggestion
    share: float  # 0 to 1


News = Measurement | Failure | Progress


class MeasurementBackend(Protocol):
    """Turns suggestions into spectra: an archive, a simulation, an instrument."""

    axis_name: str
    axis: Axis
    wavelength: float | None
    fingerprint: str  # of all that must not change under a campaign
    source: str  # what a picture has to say of where spectra come from; empty for an instrument's

    def candidates(self) -> CompositionSpace | Compositions:
        """What may be planned: the campaign's space, or a list of alloys."""
        ...

    def measure(self, suggestions: Sequence[Suggestion]) -> Generator[News]:
        """Measure each, in any order; what isn't there yet is left out and asked for again.

        Closing the generator stops what is being measured.
        """
        ...

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """Measured alloys that are never planned, to judge the model by; None where each batch gives its share."""
        ...

    def archive(self) -> tuple[Compositions, Spectra] | None:
        """Everything that can be measured, where that is known; to draw a map beside."""
        ...

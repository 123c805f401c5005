"""Who measures. A backend is anything of `MeasurementBackend`'s shape; `BACKENDS` names those that there are."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from agent.campaign import CampaignConfig
from agent.composition import CompositionSpace
from agent.dataset import SpectraSet, read_dataset
from agent.errors import CampaignError, MeasurementError
from agent.shapes import Axis, Composition, Compositions, Mask, Spectra, Spectrum
from agent.store import Suggestion


class Measurement(NamedTuple):
    """What a backend found for one suggestion."""

    suggestion: Suggestion
    composition: Composition  # measured, atomic fraction; the model learns from this one
    spectrum: Spectrum  # prepared, on the backend's axis


class MeasurementBackend(Protocol):
    """Turns suggestions into spectra: an archive, a simulation, an instrument."""

    axis_name: str
    axis: Axis
    wavelength: float | None

    def candidates(self) -> CompositionSpace | Compositions:
        """What may be planned: the campaign's space, or a list of alloys."""
        ...

    def measure(self, suggestions: Sequence[Suggestion]) -> Iterator[Measurement]:
        """Measure each, in any order; what isn't there yet is left out and asked for again."""
        ...

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """Measured alloys that are never planned, to judge the model by; None where each batch gives its share."""
        ...


class Replay:
    """Looks the answer up in a data set, so that a campaign can be judged against what was really measured.

    The data set is split once, by the campaign's seed: into alloys that may be planned and alloys held out.
    """

    def __init__(self, config: CampaignConfig) -> None:
        settings = config.backend
        spectra = read_dataset(settings.dataset)
        if spectra.elements != config.space.elements:
            raise CampaignError(
                f"space.elements must be those of the data set in its order, {', '.join(spectra.elements)}; "
                f"got {', '.join(config.space.elements)}. Correct it in the campaign file."
            )
        if settings.where is not None:
            spectra = spectra.where(settings.where)
        spectra = spectra.prepared(**config.spectrum.model_dump())
        self.axis_name, self.axis, self.wavelength = spectra.axis_name, spectra.axis, spectra.wavelength
        self._has_test_set = settings.hold_out != "batch"
        held = split(spectra, settings.hold_out, share=settings.test_share, seed=config.seed)
        self._pool, self._test = spectra.select(~held), spectra.select(held) if held.any() else None

    def candidates(self) -> Compositions:
        """The compositions of the data set that aren't held out."""
        return self._pool.compositions

    def measure(self, suggestions: Sequence[Suggestion]) -> Iterator[Measurement]:
        """Look each up by its row.

        Raises:
            MeasurementError: If another alloy stands in that row than when the batch was planned.
        """
        for s in suggestions:
            if s.row >= len(self._pool) or not np.allclose(self._pool.compositions[s.row], s.composition, atol=1e-9):
                raise MeasurementError(
                    f"The data set changed since {s.id} was planned: another alloy stands in its row {s.row}. Put the "
                    "old file back, or start another campaign."
                )
            yield Measurement(s, self._pool.compositions[s.row], self._pool.intensities[s.row])

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """The test set, if the replay was asked for one."""
        return (self._test.compositions, self._test.intensities) if self._test is not None else None


def split(spectra: SpectraSet, kind: str, *, share: float, seed: int) -> Mask:
    """Which samples are held out.

    Args:
        spectra: The data set.
        kind: `random` (the paper's: each sample with the same chance), `wafer` (all of one wafer, honest: neighbours
            on a wafer are near-copies) or `batch` (none).
        share: Of the samples, for `random`.
        seed: Picks the samples, or the wafer: seed 0 the first by name, seed 1 the next, round and round.

    Raises:
        CampaignError: If wafers are asked for and the data set names fewer than two.
    """
    held = np.zeros(len(spectra), dtype=bool)
    if kind == "random":
        held[np.random.default_rng(seed).permutation(len(spectra))[: round(share * len(spectra))]] = True
    if kind == "wafer":
        wafers = np.asarray(spectra.coordinates.get("wafer", []))
        names = np.unique(wafers)
        if len(names) < 2:
            raise CampaignError(
                f"Holding out a wafer needs a data set whose samples name two or more wafers, got {len(names)}. "
                'Use hold_out = "random".'
            )
        held = wafers == names[seed % len(names)]
    return held


BACKENDS: dict[str, Callable[[CampaignConfig], MeasurementBackend]] = {"replay": Replay}

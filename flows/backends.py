"""Who measures. A backend is anything of `MeasurementBackend`'s shape; `BACKENDS` names those that there are."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from agent.campaign import CampaignConfig, SpectrumConfig
from agent.composition import CompositionSpace
from agent.dataset import SpectraSet, read_dataset
from agent.errors import CampaignError
from agent.scans import read_scan
from agent.shapes import Axis, Composition, Compositions, Mask, Spectra, Spectrum
from agent.spectrum import Substrate
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
    fingerprint: str  # of all that must not change under a campaign

    def candidates(self) -> CompositionSpace | Compositions:
        """What may be planned: the campaign's space, or a list of alloys."""
        ...

    def measure(self, suggestions: Sequence[Suggestion]) -> Iterator[Measurement]:
        """Measure each, in any order; what isn't there yet is left out and asked for again."""
        ...

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """Measured alloys that are never planned, to judge the model by; None where each batch gives its share."""
        ...

    def archive(self) -> tuple[Compositions, Spectra] | None:
        """Everything that can be measured, where that is known; to draw a map beside."""
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
        admitted = config.space.build().admits(spectra.compositions)
        if not admitted.any():
            raise CampaignError(
                f"None of the {len(spectra)} alloys of {settings.dataset} lies within the bounds and limits of "
                "[space]. Widen them."
            )
        spectra = spectra.select(admitted).prepared(**_preparation(config.spectrum))
        self.axis_name, self.axis, self.wavelength = spectra.axis_name, spectra.axis, spectra.wavelength
        held = split(spectra, settings.hold_out, share=settings.test_share, seed=config.seed)
        self._all, self._pool = spectra, spectra.select(~held)
        self._test = spectra.select(held) if held.any() else None
        content = (spectra.axis, spectra.compositions, spectra.intensities, held)
        self.fingerprint = hashlib.sha256(
            b"".join(np.ascontiguousarray(part).tobytes() for part in content)
        ).hexdigest()

    def candidates(self) -> Compositions:
        """The compositions of the data set that aren't held out."""
        return self._pool.compositions

    def measure(self, suggestions: Sequence[Suggestion]) -> Iterator[Measurement]:
        """Look each up by its row."""
        for s in suggestions:
            yield Measurement(s, self._pool.compositions[s.row], self._pool.intensities[s.row])

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """The test set, if the replay was asked for one."""
        return (self._test.compositions, self._test.intensities) if self._test is not None else None

    def archive(self) -> tuple[Compositions, Spectra]:
        """Every alloy of the data set."""
        return self._all.compositions, self._all.intensities


def _preparation(settings: SpectrumConfig) -> dict[str, Any]:
    """How the data set's spectra are prepared, with the scan of the bare substrate read."""
    given = settings.model_dump()
    if settings.substrate is not None:
        given["substrate"] = Substrate(*read_scan(settings.substrate))
    return given


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

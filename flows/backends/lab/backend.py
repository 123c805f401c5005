"""A laboratory: orders go out as files, scans and composition tables come back into folders, late, partly and wrong."""

import hashlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Never

from glassmap.agent.config.campaign import CampaignConfig, LabConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.scan_files import RawScan
from glassmap.agent.data.spectrum import Preprocessing, q_axis
from glassmap.agent.errors import CampaignError, DatasetError
from glassmap.agent.shapes import Compositions, Spectra, Spectrum
from glassmap.agent.store.records import Suggestion


class Laboratory:
    """Measures nothing itself: it orders, and takes in what arrives."""

    axis_name = "q"
    wavelength: float | None = None
    source = ""

    def __init__(self, config: CampaignConfig, folder: Path) -> None:
        assert isinstance(config.backend, LabConfig)
        self.settings, self.elements = config.backend, config.space.elements
        for drop in self.settings.drop:
            if drop.is_relative_to(folder.resolve()):
                drop.mkdir(parents=True, exist_ok=True)
            elif not drop.is_dir():
                raise CampaignError(f"There is no drop folder {drop}. Mount or make it, or correct backend.drop.")
        self._space = config.space.build()
        self.steps = Preprocessing("q", **config.spectrum.read())
        self.axis = self.steps.grid()
        self.since = config.first_own_round
        bare = self.steps.substrate
        substrate = None if bare is None else [bare.axis.tolist(), bare.intensity.tolist(), bare.scale]
        content = [self.axis.tolist(), config.spectrum.background, self.settings.composition, substrate]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def candidates(self) -> CompositionSpace:
        """Every alloy of the space."""
        return self._space

    def measure(self, suggestions: Sequence[Suggestion]) -> Generator[Never]:
        """Nothing comes at once; see `take_in`."""
        yield from ()

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """Each batch gives its share."""

    def archive(self) -> tuple[Compositions, Spectra] | None:
        """Nothing is known but what was measured."""

    def prepare(self, scan: RawScan) -> Spectrum:
        """A scan on the campaign's axis in q.

        Raises:
            DatasetError: If it is over 2θ and neither file nor campaign says the wavelength.
            SpectrumError: If it doesn't cover the range, or holds no signal.
        """
        wavelength = scan.wavelength or self.settings.wavelength
        if scan.axis_name == "two_theta" and wavelength is None:
            raise DatasetError(
                "The scan is over 2θ and the file says no wavelength. Set backend.wavelength in the campaign file."
            )
        q = q_axis(scan.axis_name, scan.axis, wavelength)
        assert q is not None, "a lab's scans are over q or 2θ"
        return self.steps.prepare(q, scan.intensity)

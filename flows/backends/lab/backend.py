"""A laboratory: orders go out as files, scans and composition tables come back into folders, late, partly and wrong."""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glassmap.agent.config.tables import TableConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.scan_matching import SAME_PLACE
from glassmap.agent.errors import CampaignError, DatasetError
from glassmap.agent.shapes import AxisName, Composition, Spectrum
from glassmap.agent.store.records import DroppedScan, Measurement, Suggestion, say_off_target
from glassmap.flows.backends.lab.drop_folders import name_of
from glassmap.flows.backends.lab.matching import Rules
from glassmap.flows.backends.lab.settings import Settings
from glassmap.flows.backends.protocol import Backend, Event, Ledger, LedgerEntry, Measured

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.raw_scan import RawScan


def open_backend(settings: Settings, config: "CampaignConfig", folder: Path) -> "Laboratory":
    """Look for the drop folders, and make those within the campaign's folder."""
    return Laboratory(settings, config, folder)


class Laboratory(Backend):
    """Measures nothing itself: it orders, and takes in what arrives."""

    is_asynchronous = True
    retries_failures = False

    axis_name: AxisName = "q"

    def __init__(self, settings: Settings, config: "CampaignConfig", folder: Path) -> None:
        from glassmap.agent.data.spectrum import Preprocessing

        self.settings, self.elements, self.folder = settings, config.space.elements, folder
        for drop in settings.drop:
            if drop.is_relative_to(folder.resolve()):
                drop.mkdir(parents=True, exist_ok=True)
            elif not drop.is_dir():
                raise CampaignError(f"There is no drop folder {drop}. Mount or make it, or correct backend.drop.")
        self._space = config.space.build()
        self._steps = Preprocessing("q", **config.spectrum.read("q", settings.wavelength))
        self.axis = self._steps.grid()
        self.table_of_candidates: TableConfig = config.candidates or TableConfig()
        tables = () if config.candidates is None else config.candidates.table
        self.existing: Mapping[str, Path] = {name_of(path.resolve(), folder): path.resolve() for path in tables}
        self.rules = Rules(
            since=config.first_own_round,
            takes_target=settings.composition == "target",
            held=config.space.held,
            existing=self.existing,
            same_point=SAME_PLACE if config.wafer is None else config.wafer.pitch / 2,
        )
        self.holds_flagged = settings.flagged == "hold"
        bare = self._steps.substrate
        substrate = None if bare is None else [bare.axis.tolist(), bare.intensity.tolist(), bare.scale]
        content: list[Any] = [self.axis.tolist(), config.spectrum.background, settings.composition, substrate]
        self.fingerprint, without_substrate = (
            hashlib.sha256(json.dumps(part).encode()).hexdigest() for part in (content, content[:-1])
        )
        self.earlier_fingerprints = (without_substrate,)

    def candidates(self) -> CompositionSpace:
        """Return every alloy of the space."""
        return self._space

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Event]:
        """Take in what has arrived in the drop folders: of what is pending, of earlier orders, or unasked."""
        from glassmap.flows.backends.lab.intake import take_in

        yield from take_in(self, ledger)

    def has_enough(self, found: int, asked: int, waited: timedelta) -> bool:
        """Return whether the patience is over, and at least the smallest share has come."""
        late = waited >= timedelta(hours=self.settings.patience_hours)
        return late and found >= self.settings.minimum_share * asked

    @property
    def deliveries(self) -> "Laboratory":
        """Itself: files by hand and spectra from Python are taken in as those of the drop folders are."""
        return self

    def take_files(self, files: Sequence[Path], ledger: Ledger) -> Generator[Event]:
        """Take in these files now, without waiting for them to be quiet."""
        from glassmap.flows.backends.lab.intake import take_in

        yield from take_in(self, ledger, files)

    def prepare(self, scan: "RawScan") -> Spectrum:
        """Return a scan on the campaign's axis in q.

        Raises:
            DatasetError: If it is over r, or over 2θ and neither file nor campaign says the wavelength.
            SpectrumError: If it doesn't cover the range, or holds no signal.
        """
        from glassmap.agent.data.spectrum import q_axis

        wavelength = scan.wavelength or self.settings.wavelength
        if scan.axis_name == "two_theta" and wavelength is None:
            raise DatasetError(
                "The scan is over 2θ and the file says no wavelength. Set backend.wavelength in the campaign file."
            )
        if (corrections := self._steps.corrections) is not None:
            corrections.check_wavelength(wavelength)
            if corrections.k_alpha2 is not None:  # what is left is Kα1, whatever mean of the two the file says
                wavelength = corrections.wavelength
        if (q := q_axis(scan.axis_name, scan.axis, wavelength)) is None:
            raise DatasetError("The scan is over r (Å), a campaign's spectra over q. Export the scan over q or 2θ.")
        return self._steps.prepare(q, scan.intensity)

    def recall(self, measurement: Measurement, ledger: Ledger) -> Spectrum | None:
        """Read its scan again, the copy that was kept; what was told from Python has none."""
        from glassmap.flows.backends.lab.intake import recall

        return recall(self, measurement)

    def measured(
        self,
        suggestion: Suggestion | None,
        composition: Composition,
        spectrum: Spectrum,
        facts: Mapping[str, Any],
        ledger: Ledger,
        *,
        file: LedgerEntry | None = None,
        scan: DroppedScan | None = None,
    ) -> Measured:
        """Return what was measured, with how far it is off its target.

        What nobody asked for is held out where it lies as near to an alloy that is as the tolerance.
        """
        if suggestion is None:
            is_near = self._is_near_held_out(composition, ledger)
            return Measured(None, composition, spectrum, facts, hold_out=is_near, file=file, scan=scan)
        off = 100 * float(np.abs(composition - np.array(suggestion.composition)).max())
        facts = {**facts, "off_target_at_pct": round(off, 3)}
        remark = f"{say_off_target(off)}." if off > self.settings.tolerance_at_pct else ""
        return Measured(suggestion, composition, spectrum, facts, file=file, scan=scan, remark=remark)

    def _is_near_held_out(self, composition: Composition, ledger: Ledger) -> bool:
        """Return whether learning from an alloy would show the model one that it is judged by."""
        held = ledger.held_out(since=self.rules.since)
        tolerance = self.settings.tolerance_at_pct / 100
        return bool(len(held)) and float(np.abs(held - composition).max(axis=1).min()) <= tolerance

"""Who measures: the shape of a backend, what it tells, and what it may ask.

A backend is one file with two names that are found by its line in `glassmap.agent.config.backends.BACKENDS`:

    class Settings(BackendSettings)     the table [backend] of a campaign file
    def open_backend(settings, config, folder) -> Backend

Settings are read by every command, so the file imports what is slow (xarray, torch, LAMMPS) where it is used.
"""

from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from glassmap.agent.config.backends import BackendSettings, module_of
from glassmap.agent.shapes import Axis, AxisName, Composition, Compositions, Spectra, Spectrum
from glassmap.agent.store.records import DroppedFile, DroppedScan, Measurement, SampleRow, Suggestion

if TYPE_CHECKING:
    from glassmap.agent.config.campaign import CampaignConfig
    from glassmap.agent.data.composition import CompositionSpace
    from glassmap.agent.data.raw_scan import RawScan
    from glassmap.agent.data.samples import Samples
    from glassmap.flows.compute.dask_cluster import Cluster

CONTEXT = "context"  # the fact that says the process variables of a sample, by name
FROM_PYTHON = "from Python"  # the fact `file` of what was told and not dropped


class TestSet(NamedTuple):
    """Alloys that are never planned, to judge a model by."""

    __test__ = False  # no test for pytest

    compositions: Compositions  # atomic fraction
    spectra: Spectra
    wafers: Sequence[str]  # that each lies on, empty where that isn't known
    context: Mapping[str, np.ndarray] = {}  # process variables of each; empty where the campaign has none


class LedgerEntry(NamedTuple):
    """What became of a file that was dropped."""

    path: str  # as the ledger calls it
    size: int  # bytes
    modified: int  # ns, since 1970
    kind: Literal["scan", "table"]
    hash: str = ""  # SHA-256 of its content, empty where that couldn't be read
    state: Literal["used", "waiting", "duplicate", "quarantined"] = "used"
    reason: str = ""
    measurement: str | None = None


class Measured(NamedTuple):
    """A measurement: of what was asked for, or of what nobody asked for."""

    suggestion: Suggestion | None
    composition: Composition  # as found, atomic fraction; the model learns from this one
    spectrum: Spectrum  # prepared, on the backend's axis
    facts: Mapping[str, Any] = {}  # what else was found, JSON types
    hold_out: bool | None = None  # never trained on; as the suggestion by default
    file: LedgerEntry | None = None  # that it was read from
    scan: DroppedScan | None = None  # of that file
    remark: str = ""  # a sentence for the log


class Failed(NamedTuple):
    """A suggestion that this backend can't measure, whatever is tried."""

    suggestion: Suggestion
    reason: str
    cpu_seconds: float = 0.0  # that trying has cost


class Filed(NamedTuple):
    """A file that gave no measurement: a table, scans that wait, a duplicate, one that is set aside."""

    file: LedgerEntry
    text: str = ""  # what became of it, a sentence for a person; empty where that isn't worth one
    is_news: bool = True  # and belongs into the log
    samples: Sequence[SampleRow] = ()  # what a table says
    scans: Sequence[DroppedScan] = ()  # that it holds, as far as something else than before became of them
    replaces: LedgerEntry | None = None  # another file that this one stands for from here on


class Looked(NamedTuple):
    """Every scan that waits for its composition was looked up, in vain, in all that was said so far."""

    said: int  # how much that was; see `Ledger.said`


class Progress(NamedTuple):
    """How far the measurement of a suggestion is."""

    suggestion: Suggestion
    share: float  # 0 to 1


Event = Measured | Failed | Filed | Looked | Progress


class Ledger(Protocol):
    """What a backend may ask of the campaign's store, and not write."""

    @property
    def read_again(self) -> bool:
        """Whether files that were refused are to be read again, as settings changed."""
        ...

    def files(self, *, state: str | None = None) -> list[DroppedFile]:
        """Return every file that was dropped, in the order they were seen; or only those of one state."""
        ...

    def file_of(self, hash_: str) -> DroppedFile | None:
        """Return the file of a content that was used, the last time, or waits, if there is one."""
        ...

    def paths_of(self, hash_: str) -> list[str]:
        """Return every path that a content was dropped under, the last first."""
        ...

    def files_at(self, path: str) -> list[DroppedFile]:
        """Return the files that were dropped under a path, each content's last, but for those that were refused."""
        ...

    def files_to_read(self) -> list[DroppedFile]:
        """Return the files that wait, one a content, of which it isn't recorded what their scans are called."""
        ...

    def scans(self, hash_: str) -> list[DroppedScan]:
        """Return the scans of a content, in the order they were recorded."""
        ...

    def scans_to_look_up(self, *, all_: bool = False) -> list[DroppedScan]:
        """Return the scans that wait since before the last was said that may name them, or all that wait."""
        ...

    def measured_scans(self, samples: Sequence[str]) -> list[DroppedScan]:
        """Return the scans that are used, of some samples of tables, by their plain names."""
        ...

    @property
    def said(self) -> int:
        """How much there is that may name a scan: rows of tables and alloys of orders; it only grows."""
        ...

    def samples(self, name: str) -> list[SampleRow]:
        """Return what tables say of a sample by its plain name, the last first."""
        ...

    def samples_at(self, x: float, y: float, *, within: float) -> list[SampleRow]:
        """Return what tables say of the samples that lie at a place (mm), the last first."""
        ...

    def samples_on(self, wafer: str, names: Sequence[str]) -> list[SampleRow]:
        """Return what tables say of samples of a wafer that are called one of some plain names, the last first."""
        ...

    def wafers_of_samples(self) -> list[str]:
        """Return the wafers that tables name."""
        ...

    def tables_with_places(self) -> list[tuple[str, str]]:
        """Return the path of each table that says where samples lie, with each wafer that it names."""
        ...

    def suggestion(self, id_: str) -> Suggestion | None:
        """Return a suggestion by its id, if there is one."""
        ...

    def suggestions(self, *, round_: int | None = None, pending: bool = False) -> list[Suggestion]:
        """Return suggestions in the order they were made; of one round, or only those that are waited for."""
        ...

    def suggestions_of_samples(self) -> list[Suggestion]:
        """Return the suggestions that are of a sample that exists or lies on a planned wafer, in their order."""
        ...

    def measurement(self, id_: str) -> Measurement | None:
        """Return a measurement by its id, if there is one."""
        ...

    def measurements_of(self, hash_: str) -> list[Measurement]:
        """Return the measurements that were read from a content."""
        ...

    def held_out(self, *, since: int) -> Compositions:
        """Return what is held out and used of what came in a round or later, atomic fraction, `(n, e)`."""
        ...


class Backend(Protocol):
    """Turns suggestions into spectra: an archive, a simulation, an instrument.

    What is written out here is what most backends are; they inherit it, and say where they differ.
    """

    has_test_set: bool = False  # alloys that are never planned, to judge a model by; else each batch gives its share
    is_asynchronous: bool = False  # `measure` gives what has come since, and what is missing is waited for
    retries_failures: bool = True  # what failed is tried again by the next run; else a person says so
    may_end_early: bool = False  # a round ends without the rest once the campaign's time is spent
    needs_screening: bool = True  # an instrument's spectra show substrates, saturation, wrong places
    holds_flagged: bool = False  # what screening flags is left out until a person decides

    axis_name: AxisName
    axis: Axis
    wavelength: float | None = None
    fingerprint: str  # of all that must not change under a campaign
    earlier_fingerprints: tuple[str, ...] = ()  # of the same, as earlier versions made them
    notes: tuple[str, ...] = ()  # what a person should know of the data, such as who was left out; said as it begins
    source: str = ""  # what a picture has to say of where spectra come from; empty for an instrument's

    def candidates(self) -> "CompositionSpace | Samples":
        """Return what may be planned: the campaign's space, or the samples that there are."""
        ...

    def measure(self, pending: Sequence[Suggestion], ledger: Ledger) -> Generator[Event]:
        """Measure what is pending, in any order; what isn't there yet is left out and asked for again.

        Each event is recorded before the generator goes on, so that the ledger knows it. Closing the generator stops
        what is being measured.

        Args:
            pending: What is waited for.
            ledger: What is recorded so far.
        """
        ...

    def recall(self, measurement: Measurement, ledger: Ledger) -> Spectrum | None:
        """Return a recorded spectrum again, from where it came from; None where that is gone, or never was.

        Who asks holds it against the checksum of what was recorded.
        """
        return None

    def hold_out(self) -> TestSet | None:
        """Return the test set, where there is one."""
        return None

    def archive(self) -> tuple[Compositions, Spectra] | None:
        """Return everything that can be measured, where that is known; to draw a map beside."""
        return None

    def mixture(self) -> str:
        """Return in sentences how samples of one alloy differ in all that can be measured, where that is known."""
        return ""

    def run_on(self, cluster: "Cluster | None") -> None:
        """Compute on a cluster from here on; a backend that computes nothing needs none."""

    def has_enough(self, found: int, asked: int, waited: timedelta) -> bool:
        """Return whether a round may go on though some are missing; asked of asynchronous backends.

        Args:
            found: How many of the batch were measured.
            asked: How many the batch asks for.
            waited: Time since it was ordered.
        """
        return False

    @property
    def deliveries(self) -> "Deliveries | None":
        """How people and programs bring what they have measured; None where the backend measures itself."""
        return None


class Deliveries(Protocol):
    """Takes in measurements from people and programs; see `BackendSettings.takes_deliveries`."""

    def take_files(self, files: Sequence[Path], ledger: Ledger) -> Generator[Event]:
        """Take in files by hand."""
        ...

    def prepare(self, scan: "RawScan") -> Spectrum:
        """Return a scan as a spectrum on the campaign's axis."""
        ...

    def measured(
        self,
        suggestion: Suggestion | None,
        composition: Composition,
        spectrum: Spectrum,
        facts: Mapping[str, Any],
        ledger: Ledger,
    ) -> Measured:
        """Return what was measured as it is recorded."""
        ...


def open_backend(settings: BackendSettings, config: "CampaignConfig", folder: Path) -> Backend:
    """Open who measures.

    Args:
        settings: Of the backend: the campaign's, or its guide's.
        config: The campaign's.
        folder: The campaign's.

    Raises:
        CampaignError: If a setting doesn't fit what the backend finds, such as the data set.
    """
    return module_of(settings.kind).open_backend(settings, config, folder)

"""What the store gives out: one frozen record a kind of row."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

import numpy as np

from glassmap.agent.data.composition import label
from glassmap.agent.data.context import Value
from glassmap.agent.planning.convergence import On
from glassmap.agent.planning.enough import say_rest
from glassmap.agent.shapes import Compositions, Mask, PerSample, Spectrum

SuggestionState = Literal["measured", "flagged", "missing", "failed", "rejected", "abandoned", "retracted"]
MeasurementState = Literal["used", "flagged", "retracted"]
Exclusion = Literal["rejected", "abandoned", "retracted"]
FileState = Literal["used", "waiting", "duplicate", "quarantined"]
ScanState = FileState  # a duplicate is one that the file held before it was written anew
Judged = Literal["held out", "left out"]  # never learned from; learned from, as models say it that left it out
StageStatus = Literal["running", "waiting", "failed", "done"]
WaitingFor = Literal["approval", "measurements", "other spectra"]  # the last: those to learn from were retracted


def copy_name(hash_: str, path: str) -> str:
    """Return what the copy of a content is called that was dropped under a path: by its hash, with the same ending."""
    return f"{hash_[:16]}{PurePath(path).suffix.lower()}"


CONFIRMS = "confirms the candidate "  # begins why an alloy is asked for that the map bets on


class Suggestion(NamedTuple):
    """An alloy that a round asks for."""

    id: str  # "r003-07": round and place in its batch
    round: int
    row: int  # rank in the space of then, or row of the samples that could be planned then
    composition: tuple[float, ...]  # target, atomic fraction
    hold_out: bool  # never trained on
    why: str = ""  # it is asked for, where not by the planning rule
    sample: str = ""  # as a table, a data set or a planned wafer calls it; empty of an alloy that is yet to be made
    wafer: str = ""  # that it lies on, where that is known
    x: float | None = None  # mm, on the wafer
    y: float | None = None

    @property
    def confirms(self) -> bool:
        """Whether it is asked for because the last map bets on it."""
        return self.why.startswith(CONFIRMS)


class Request(NamedTuple):
    """An alloy that a person asked for, or a sample that exists."""

    composition: tuple[float, ...]  # a candidate's, atomic fraction
    person: str
    reason: str  # may be empty
    time: str
    round: int | None = None  # whose batch it is in; None where it is still to come
    sample: str = ""  # as among the candidates; empty where those are no list
    wafer: str = ""

    @property
    def why(self) -> str:
        """Who asked for it and why, in words."""
        return f"requested by {self.person}" + (f": {self.reason}" if self.reason else "")

    def named(self, elements: Sequence[str]) -> str:
        """Return what was asked for in words, such as `Co40V32Zr28`, or `17 of W3, Co39.6V31.9Zr28.5`."""
        alloy = label(np.array(self.composition), elements)
        where = f" of {self.wafer}" if self.wafer else ""
        return f"{self.sample}{where}, {alloy}" if self.sample else alloy


class PlannedBy(NamedTuple):
    """What a round, and those after it, were planned by."""

    since: int  # the round
    space: Mapping[str, Any]  # settings of `[space]`, JSON types
    planning: Mapping[str, Any]  # of `[planning]`


class PlannedWafer(NamedTuple):
    """A wafer that is to be made, or was."""

    name: str
    round: int  # whose batch lies on it
    powers: Mapping[str, float]  # W, by the name of the gun
    minutes: float  # of deposition

    def say(self) -> str:
        """Return how it is made in a few words, such as `Co 120 W, V 60 W for 30 min`."""
        powers = ", ".join(f"{gun} {power:g} W" for gun, power in self.powers.items())
        return f"{powers} for {self.minutes:.3g} min"


class ExcludedWafer(NamedTuple):
    """A wafer of which nothing is planned any more, by a person's word."""

    wafer: str
    kind: Literal["rejected", "failed"]
    reason: str
    person: str
    time: str


class MeasuredPoint(NamedTuple):
    """A measurement that lies on a wafer."""

    id: str  # of the measurement
    wafer: str
    sample: str  # empty where nobody says which
    composition: tuple[float, ...]  # as found, atomic fraction
    is_learned: bool  # learned from: neither held out nor flagged


class WaferGain(NamedTuple):
    """What measuring the points of a wafer that are left would bring, as it was reckoned last."""

    wafer: str
    measured: int  # of its points
    points: int  # that it has, as far as is known
    gain: float | None  # in the unit of the measure; None where too few spectra tell
    farthest_at_pct: float | None  # of a point that is left from the nearest that is learned from
    worth: float  # the campaign's tolerance, in the same unit
    measure: On  # what has to settle
    is_enough: bool  # the gain isn't worth measuring them
    model: int  # round of the last model that was judged when it was reckoned; 0 before the first
    next: tuple[str, ...]  # samples that are left and would bring most, the best first

    @property
    def spares_some(self) -> bool:
        """Whether enough is measured before all is."""
        return self.is_enough and self.measured < self.points

    def say(self) -> str:
        """Return it in words that begin small, such as `enough of W3, 120 of 441 measured: …`; no full stop."""
        if self.measured >= self.points:
            return f"all {self.points} points of {self.wafer} are measured"
        measured = f"{self.wafer}, {self.measured} of {self.points} measured"
        if self.gain is None or self.farthest_at_pct is None:
            return f"too little is known of {measured}, to say what the others would bring"
        told = f"{'enough' if self.is_enough else 'not enough'} of {measured}"
        return f"{told}: {say_rest(self.measure, self.gain, self.worth, self.farthest_at_pct)}"


class SuggestionStatus(NamedTuple):
    """What became of a suggestion."""

    suggestion: Suggestion
    state: SuggestionState
    reason: str
    measurement: str | None  # id of the one that counts
    off_target_at_pct: float | None = None  # where that lies further from the target than is allowed

    @property
    def is_flagged_and_used(self) -> bool:
        """Whether it is learned from though its measurement is flagged."""
        return self.state == "measured" and self.reason != ""

    @property
    def remark(self) -> str:
        """The reason of its state in words, and where it was found if elsewhere; without one, why it is asked for."""
        said = f"flagged, used: {self.reason}" if self.is_flagged_and_used else self.reason
        elsewhere = "" if self.off_target_at_pct is None else say_off_target(self.off_target_at_pct)
        return "; ".join(filter(None, (elsewhere, said))) or self.suggestion.why


def say_off_target(at_pct: float) -> str:
    """Say that an alloy was found further from its target than is allowed, in a few words."""
    return f"found {at_pct:.1f} at.% from its target, which counts as not measured"


class Measurement(NamedTuple):
    """A measurement without its spectrum."""

    id: str  # the suggestion's, "r003-07-2" where it was repeated, "u0001" where nobody asked
    suggestion: str | None
    round: int  # that it came in
    composition: tuple[float, ...]  # as found, atomic fraction
    hold_out: bool
    backend: str  # who measured
    taken: str  # when
    state: MeasurementState
    reason: str  # why it is flagged or retracted; of a used one, why it is flagged as long as nobody accepted it
    facts: dict[str, Any]  # what else was found, and from what
    screened: bool  # whether it was held against its neighbours


class UsedAlloys(NamedTuple):
    """The measurements that are used, in arrays: what of 100,000 is looked at together."""

    ids: list[str]
    compositions: Compositions  # as found, atomic fraction
    hold_out: Mask  # never trained on

    @property
    def learned(self) -> Compositions:
        """The compositions that are learned from, atomic fraction."""
        return self.compositions[~self.hold_out]


class Recorded(NamedTuple):
    """A measurement with its spectrum."""

    measurement: Measurement
    target: tuple[float, ...] | None  # atomic fraction; None where nobody asked
    spectrum: Spectrum  # as the store has it, float32


class JudgedSpectra(NamedTuple):
    """What a round's model errs on some spectra, one by one."""

    ids: tuple[str, ...]  # of measurements; `held out 1` and so on of a backend's own test set
    wafers: tuple[str, ...]  # that each lies on, empty where that isn't known
    errors: Mapping[str, PerSample]  # by measure; NaN where it can't be said

    def of(self, ids: Sequence[str]) -> dict[str, PerSample]:
        """Return the errors on some spectra, by measure; NaN where the model wasn't judged by them."""
        if tuple(ids) == self.ids:
            return dict(self.errors)
        places = {id_: place for place, id_ in enumerate(self.ids)}
        rows = np.array([places.get(id_, -1) for id_ in ids], dtype=np.intp)
        return {name: np.append(errors, np.nan)[rows] for name, errors in self.errors.items()}


class Excluded(NamedTuple):
    """A suggestion that no measurement is waited for any more, by a person's word."""

    suggestion: str
    kind: Exclusion
    reason: str
    person: str
    time: str


class DroppedFile(NamedTuple):
    """A file that a laboratory dropped, and what became of it."""

    id: int
    path: str
    size: int  # bytes
    modified: int  # ns, since 1970
    hash: str  # SHA-256 of its content
    kind: Literal["scan", "table"]
    state: FileState
    reason: str
    measurement: str | None
    time: str
    sequence: int  # in the order in which files were seen last


class DroppedScan(NamedTuple):
    """A scan of a file that a laboratory dropped, and what became of it."""

    hash: str  # SHA-256 of the content that holds it, under whatever names that was dropped
    name: str  # among the scans of its file; empty where that holds one
    sample: str = ""  # as the file says, empty where it doesn't
    x: float | None = None  # mm, of the stage, as the file says
    y: float | None = None
    state: ScanState = "waiting"
    reason: str = ""
    measurement: str | None = None
    matched: str = ""  # the sample of a composition table that it is of, by its plain name
    seen: int = 0  # how much there was that may name it when it was looked up last; see `Scans.said`


class SampleRow(NamedTuple):
    """What a row of a composition table says."""

    table: str  # its path
    sample: str  # by its plain name
    composition: tuple[float, ...]  # atomic fraction
    wafer: str  # empty where it says none
    context: Mapping[str, Value]  # process variables
    x: float | None  # mm, on the wafer
    y: float | None


class LogLine(NamedTuple):
    """Who did what, when and why."""

    time: str
    person: str
    event: str
    subject: str  # the id of a suggestion or measurement, if it was about one
    detail: str


class Note(NamedTuple):
    """What a person remarked."""

    id: int
    time: str
    person: str
    text: str
    about: str  # in words: `the campaign`, `round 3`, an alloy such as `Co40V32Zr28`, or the id of a measurement
    round: int | None = None  # that it is about
    composition: tuple[float, ...] | None = None  # of the alloy that it is about, atomic fraction
    measurement: str | None = None  # that it is about, or the suggestion of one

    def __str__(self) -> str:
        """Say it in a line, such as `2026-03-01 12:30, ada on round 3: the beam was off`."""
        when = datetime.fromisoformat(self.time).astimezone()
        return f"{when:%Y-%m-%d %H:%M}, {self.person} on {self.about}: {self.text}"


class Stage(NamedTuple):
    """How far a stage of a round is."""

    round: int
    name: str
    status: StageStatus
    attempts: int
    started: datetime  # the last attempt
    finished: datetime | None
    seconds: float  # at work, all attempts that ended
    spectra: int | None  # of the campaign when it ended
    waiting_for: WaitingFor | None
    error: str | None  # why it failed
    news: int  # counted changes of the campaign when it ended

    def to_json(self) -> dict[str, Any]:
        """Return what a program may want to know, in JSON types."""
        times = {"started": self.started.isoformat(), "finished": self.finished and self.finished.isoformat()}
        return {name: value for name, value in (self._asdict() | times).items() if name != "news"}


class Pause(NamedTuple):
    """Who had a campaign stop before its next stage, since when and why."""

    by: str
    since: datetime
    reason: str


class Running(NamedTuple):
    """A measurement that is being made."""

    suggestion: str  # its id
    alloy: str  # its name, in at.%
    share: float  # that is done, 0 to 1


class Flag(NamedTuple):
    """Why a measurement is flagged."""

    measurement: str  # its id
    reason: str
    is_used: bool  # learned from nevertheless

    def __str__(self) -> str:
        """Say it in a few words, such as `r002-19: a sharp line at 2.61 1/Å`."""
        first = re.split(r"[:,;.](?= |$)", self.reason)[0]
        return f"{self.measurement}: {first[:1].lower()}{first[1:]}"


class ToLookAt(NamedTuple):
    """How much there is that a person should see to."""

    quarantined: int  # files, as they were dropped last
    without_composition: int  # scans
    flagged: int  # measurements that wait for a person's word before they are learned from
    used_flagged: int  # measurements that are flagged and learned from nevertheless
    refused_scans: int = 0  # of files whose other scans were taken

    def __str__(self) -> str:
        """Say in words how many files there are, empty where there are none; flags have sentences of their own."""
        counted = (
            (self.quarantined, "quarantined file", ""),
            (self.refused_scans, "refused scan", ""),
            (self.without_composition, "scan", " without a composition"),
        )
        return ", ".join(f"{count} {what}{'s' * (count != 1)}{rest}" for count, what, rest in counted if count)

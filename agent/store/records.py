"""What the store gives out: one frozen record a kind of row."""

from typing import Any, Literal, NamedTuple


class Suggestion(NamedTuple):
    """An alloy that a round asks for."""

    id: str  # "r003-07": round and place in its batch
    round: int
    row: int  # rank in the space, or row of the data set that is replayed
    composition: tuple[float, ...]  # target, atomic fraction
    hold_out: bool  # never trained on


class SuggestionStatus(NamedTuple):
    """What became of a suggestion."""

    suggestion: Suggestion
    state: Literal["measured", "doubtful", "missing", "failed", "rejected", "abandoned", "retracted"]
    reason: str
    measurement: str | None  # id of the one that counts


class Measurement(NamedTuple):
    """A measurement without its spectrum."""

    id: str  # the suggestion's, "r003-07-2" where it was repeated, "u0001" where nobody asked
    suggestion: str | None
    round: int  # that it came in
    composition: tuple[float, ...]  # as found, atomic fraction
    hold_out: bool
    backend: str  # who measured
    taken: str  # when
    state: Literal["used", "doubtful", "retracted"]
    reason: str  # why it is doubtful or retracted
    facts: dict[str, Any]  # what else was found, and from what
    screened: bool  # whether it was held against its neighbours


class DroppedFile(NamedTuple):
    """A file that a laboratory dropped, and what became of it."""

    id: int
    path: str
    size: int  # bytes
    modified: int  # ns, since 1970
    hash: str  # SHA-256 of its content
    kind: Literal["scan", "table"]
    state: Literal["used", "waiting", "duplicate", "quarantined"]
    reason: str
    measurement: str | None
    time: str


class LogLine(NamedTuple):
    """Who did what, when and why."""

    time: str
    person: str
    event: str
    subject: str  # the id of a suggestion or measurement, if it was about one
    detail: str


class Status(NamedTuple):
    """Where a campaign stands, in the words of `glassmap status --json`."""

    state: Literal["running", "waiting", "paused", "converged", "exhausted", "failed"]
    reason: str  # for a person
    rounds: int  # whose model is judged
    spectra: int  # measured, held out ones included
    hold_out_mse: float | None  # of the last model, ensemble mean

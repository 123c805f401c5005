"""Where a campaign stands: fields, and the one function that makes a sentence of them."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from glassmap.agent.outside_text import visible
from glassmap.agent.planning.convergence import Decision
from glassmap.agent.store.records import Pause, Running, StageStatus, ToLookAt, WaitingFor


class Status(NamedTuple):
    """Where a campaign stands, as `glassmap status --json` has it."""

    state: Literal["running", "waiting", "paused", "converged", "exhausted", "failed"]
    rounds: int  # whose model is judged
    spectra: int  # measured, held out ones included
    hold_out_mse: float | None  # of the last model, ensemble mean
    folder: Path  # as it was opened
    is_advanced: bool  # whether a process is at it
    round: int | None  # at work; None before the first
    stage: str | None  # of that round
    stage_status: StageStatus | None
    waiting_for: WaitingFor | Literal["order"] | None  # the last: approved, to be ordered by the next run
    asked: int  # alloys of the round at work
    missing: int  # of them, those that a measurement is waited for
    ordered: datetime | None  # when the round was; before, nothing of it is measured
    running: tuple[Running, ...]
    error: str | None  # why the stage failed
    decision: Decision | None  # of the last round that came to one
    paused: Pause | None
    to_look_at: ToLookAt

    @property
    def reason(self) -> str:
        """The sentence for a person."""
        return describe_status(self)

    @property
    def needs_person(self) -> bool:
        """Whether it waits for a person's decision or repair."""
        return self.state in ("failed", "paused") or self.waiting_for == "approval" or any(self.to_look_at)

    def to_json(self) -> dict[str, Any]:
        """Return all fields and the sentence, in JSON types."""
        values = {
            "folder": str(self.folder),
            "reason": self.reason,
            "ordered": None if self.ordered is None else self.ordered.isoformat(),
            "running": [one._asdict() for one in self.running],
            "decision": None if self.decision is None else self.decision._asdict(),
            "paused": self.paused and self.paused._asdict() | {"since": self.paused.since.isoformat()},
            "to_look_at": self.to_look_at._asdict(),
        }
        return {"state": self.state, "reason": self.reason} | self._asdict() | values


def describe_status(status: Status) -> str:
    """Return where a campaign stands, in a sentence or two for a person, with what to do about it."""
    sentences: list[str] = []
    if status.paused is not None:
        by, since, reason = status.paused
        sentences.append(f"Paused since {since.astimezone():%Y-%m-%d %H:%M} by {by}: {reason}.")
    sentences.append(_describe_stage(status))
    if look := str(status.to_look_at):
        sentences.append(f"To look at with `glassmap ledger`: {look}.")
    return visible(" ".join(sentences), keep="\n")


def _describe_stage(status: Status) -> str:
    """Return what the stage at work failed from, waits for or does, or why the campaign has stopped."""
    round_, folder = status.round, status.folder
    if round_ is None:
        return "Not started yet."
    if status.stage_status == "failed":
        return f"Round {round_}, {status.stage}: {status.error}"
    match status.waiting_for:
        case "approval":
            return f"Round {round_} waits for approval: `glassmap approve {folder}`, or `reject` some first."
        case "order":
            return f"Round {round_} is approved: `glassmap run {folder}` orders it."
        case "other spectra":
            return (
                f"What round {round_} would learn from or be judged by was retracted; `glassmap run {folder}` looks "
                "for other."
            )
        case "measurements":
            since = "" if status.ordered is None else f" since {status.ordered.astimezone():%A %Y-%m-%d %H:%M}"
            return f"Waiting for {status.missing} of {status.asked} measurements of round {round_}{since}."
        case None:
            if status.decision is not None and status.decision.state != "continue":
                return status.decision.reason
    sentences = [f"Round {round_}, {status.stage}: {status.stage_status}."]
    if status.stage == "measure":
        running = "".join(f", {alloy} {share:.0%}" for _, alloy, share in status.running)
        sentences.append(f"{status.asked - status.missing} of {status.asked} done{running}.")
    if not status.is_advanced:
        sentences.append(f"No process is at it: `glassmap run {folder}` goes on.")
    return " ".join(sentences)

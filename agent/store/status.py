"""Where a campaign stands: fields, and the one function that makes a sentence of them."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from glassmap.agent.maps.failure import PeaksFound, why_nothing_is_said
from glassmap.agent.maps.glass import GlassRule, GlassShares, say_glass
from glassmap.agent.models.description import Described
from glassmap.agent.outside_text import visible
from glassmap.agent.planning.convergence import Decision, Effort
from glassmap.agent.store.records import (
    Flag,
    Note,
    Pause,
    PlannedWafer,
    Running,
    StageStatus,
    ToLookAt,
    WaferGain,
    WaitingFor,
)

STOPPED = ("converged", "exhausted")
IDS_SAID = 10
WAFERS_SAID = 3  # beside the last of which enough is measured
FLAGS_SAID = 3  # of each kind; the ledger has all


class Status(NamedTuple):
    """Where a campaign stands, as `glassmap status --json` has it."""

    state: Literal["running", "waiting", "paused", "converged", "exhausted", "failed"]
    rounds: int  # whose model is judged
    spectra: int  # measured, held out ones included
    hold_out_mse: float | None  # of the last model, ensemble mean; of left-out spectra where nothing is held out
    hold_out_mse_standard_error: float | None  # over the held-out spectra; None where it can't be told
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
    flags: tuple[Flag, ...]  # the first `FLAGS_SAID` of those that are used, and of those that wait for a person
    use_changed: tuple[str, ...]  # measurements that people took out of use or into it since the last training
    peaks_found: PeaksFound | None  # on the last map, and in the spectra that its model knows of
    glass: GlassShares | None  # how much of the last map is; None before, of g(r) and of simulations without a rule
    glass_rule: GlassRule | None  # by which it is said
    mixture: str  # how samples of one alloy differ and what explains it, in sentences; empty where they don't
    misplaced: str  # where first peaks lie off, and the likely fault, in sentences; empty where they don't
    unlearned: str  # where it is held at what nothing was learned of, in sentences; empty where that is nowhere
    wafers: tuple[WaferGain, ...]  # what measuring the rest of each would bring, the last reckoned last
    spared: int  # of `missing`, what lies on a wafer of which enough is measured
    ensemble: Described | None  # the newest model; None before the first, and where its checkpoint says nothing
    effort: Effort | None = None  # wafers, spectra on them, and hours; None where no spectrum says its wafer
    off_targets: tuple[str, ...] = ()  # of the last two rounds, what was found further from its target than is allowed
    notes: tuple[Note, ...] = ()  # that people made, the oldest first
    to_make: tuple[PlannedWafer, ...] = ()  # wafers of the round at work that nothing tells of yet

    @property
    def failure(self) -> str:
        """The sentences for a person where the map says nothing of its system; empty where it does."""
        return visible(why_nothing_is_said(self.peaks_found, folder=self.folder))

    @property
    def headline(self) -> str:
        """How much of the last map is a glass, by what rule, in a sentence; empty where nothing can be said."""
        if self.glass is None or self.glass_rule is None or self.failure:
            return ""
        said = f"{say_glass(self.glass)} by {self.glass_rule.say()}"
        note = f", {self.glass_rule.note}" if self.glass_rule.note else ""
        return visible(f"{said[0].upper()}{said[1:]}{note}.")

    @property
    def reason(self) -> str:
        """The sentence for a person."""
        return describe_status(self)

    @property
    def needs_person(self) -> bool:
        """Whether it waits for a person's decision or repair."""
        is_outdated = self.state in STOPPED and bool(self.use_changed)
        waits = self.state in ("failed", "paused") or self.waiting_for == "approval"
        return waits or is_outdated or any(self.to_look_at) or bool(self.failure)

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
            "flags": [flag._asdict() for flag in self.flags],
            "peaks_found": self.peaks_found and self.peaks_found._asdict(),
            "glass": self.glass and self.glass._asdict(),
            "glass_rule": self.glass_rule and self.glass_rule.to_json(),
            "wafers": [one._asdict() | {"sentence": one.say()} for one in self.wafers],
            "failure": self.failure,
            "needs_person": self.needs_person,
            "headline": self.headline,
            "ensemble": self.ensemble and self.ensemble.to_json(),
            "effort": self.effort and self.effort._asdict(),
            "to_make": [one._asdict() for one in self.to_make],
            "notes": [note._asdict() for note in self.notes],
        }
        return {"state": self.state, "reason": self.reason} | self._asdict() | values


def state_in_words(state: str) -> str:
    """Return a state as people are told it; what programs read stays one word."""
    return "budget spent, not converged" if state == "exhausted" else state


def is_said_by(reason: str, state: str) -> bool:
    """Return whether a sentence says the state itself, so that nobody is told it twice."""
    return reason.lower().startswith(state_in_words(state))


def say_status(status: Status) -> str:
    """Return the state and its sentence in one line; without the state where the map says nothing, as none is good."""
    if status.failure or is_said_by(status.reason, status.state):
        return status.reason
    return f"{state_in_words(status.state)}: {status.reason}"


def describe_status(status: Status) -> str:
    """Return where a campaign stands, in a sentence or two for a person, with what to do about it."""
    sentences = [status.failure] if status.failure else []
    if status.paused is not None:
        by, since, reason = status.paused
        sentences.append(f"Paused since {since.astimezone():%Y-%m-%d %H:%M %Z} by {by}: {reason}.")
    sentences.append(_describe_stage(status))
    if status.headline:
        sentences.append(status.headline)
    if status.off_targets:
        ids, more = ", ".join(status.off_targets[:IDS_SAID]), ", …" * (len(status.off_targets) > IDS_SAID)
        sentences.append(
            f"Found further from the target than backend.tolerance_at_pct: {ids}{more}; the target counts as not "
            "measured, and may be planned again."
        )
    if enough := describe_enough(status):
        sentences.append(enough)
    if status.state in STOPPED and status.use_changed:
        changed = ", ".join(status.use_changed[:IDS_SAID]) + ", …" * (len(status.use_changed) > IDS_SAID)
        sentences.append(
            f"What is used has changed since the last training ({changed}): `glassmap retrain "
            f"{status.folder}` applies it, maps and decides again, and so does the next `glassmap run`."
        )
    if look := str(status.to_look_at):
        sentences.append(f"To look at with `glassmap ledger`: {look}.")
    sentences += describe_flags(status)
    return visible(" ".join(sentences), keep="\n")


def describe_enough(status: Status) -> str:
    """Return of which wafers enough is measured, and what goes on without the rest.

    Where it is of none, and measurements are waited for: what the last lacks.
    """
    enough = [one for one in status.wafers if one.spares_some]
    if not status.wafers or status.failure or not (enough or status.waiting_for == "measurements"):
        return ""
    if not enough:
        last = status.wafers[-1].say()
        return f"{last[0].upper()}{last[1:]}."
    last = enough[-1].say()
    told = f"{last[0].upper()}{last[1:]}."
    if before := enough[:-1][-WAFERS_SAID:]:
        told += f" Enough of {', '.join(f'{one.wafer} ({one.measured} of {one.points})' for one in before)} as well."
    if status.waiting_for == "measurements" and 0 < status.spared == status.missing:
        told += f" `glassmap go-on {status.folder}` goes on without what is missing."
    return told


def describe_flags(status: Status) -> list[str]:
    """Return a sentence on the flagged measurements that are used, and one on those that wait for a person's word."""
    folder, look = status.folder, status.to_look_at
    sentences: list[str] = []
    for is_used, count in ((True, look.used_flagged), (False, look.flagged)):
        flags = [flag for flag in status.flags if flag.is_used == is_used]
        if not flags:
            continue
        first = flags[0].measurement
        which = "; ".join([*map(str, flags), *([f"and {count - len(flags)} more"] if count > len(flags) else [])])
        told = "1 flagged measurement is" if count == 1 else f"{count} flagged measurements are"
        told += (
            f" {'used' if is_used else 'left out'} ({which}); look at `pictures/flagged-{first}.png`, then `glassmap "
        )
        if is_used:
            told += f"retract {folder} {first} --reason …` and `retrain`, or `accept` it."
        else:
            told += f"accept {folder} {first}` or `retract` it."
        sentences.append(told)
    return sentences


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
            since = "" if status.ordered is None else f" since {status.ordered.astimezone():%A %Y-%m-%d %H:%M %Z}"
            make = "".join(f" To be made: {one.name} with {one.say()}." for one in status.to_make)
            return f"Waiting for {status.missing} of {status.asked} measurements of round {round_}{since}.{make}"
        case None:
            if status.decision is not None and status.decision.state != "continue":
                if status.failure:
                    return "The campaign has stopped."
                return status.decision.reason
    sentences = [f"Round {round_}, {status.stage}: {status.stage_status}."]
    if status.stage == "measure":
        running = "".join(f", {alloy} {share:.0%}" for _, alloy, share in status.running)
        sentences.append(f"{status.asked - status.missing} of {status.asked} done{running}.")
    if not status.is_advanced:
        sentences.append(f"No process is at it: `glassmap run {folder}` goes on.")
    return " ".join(sentences)

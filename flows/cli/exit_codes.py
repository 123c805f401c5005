"""With which number a command ends, for whoever called it; docs/exit-codes.md says what to do about each."""

from collections.abc import Iterable
from enum import IntEnum

from glassmap.agent.store.status import Status


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0  # all of it
    FAULT = 1  # of glassmap itself: Python's own code of an error that nobody foresaw, with a traceback
    USAGE = 2  # an unknown command or option, or a value of the wrong kind
    REFUSED = 3  # by glassmap or by the system; the message says the rule, what was found and the remedy
    WAITS = 4  # all that could be done is; the campaign waits for a person, or for what people measure
    BUSY = 5  # another process is at the campaign; the same command does it later
    HARM = 6  # something isn't as it was written, or as it has to be
    INTERRUPTED = 130  # by Ctrl-C; the same command goes on


SAID = {
    ExitCode.DONE: "done",
    ExitCode.USAGE: "usage",
    ExitCode.REFUSED: "refused",
    ExitCode.WAITS: "waits for a person",
    ExitCode.BUSY: "busy (try again)",
    ExitCode.HARM: "harm found",
}
OF_ALL = (ExitCode.DONE, ExitCode.USAGE, ExitCode.REFUSED)  # commands can end so


def say_codes(codes: Iterable[ExitCode]) -> str:
    """Return the line in a command's help that says how it may end, beside how all may."""
    said = (f"{code:d} {SAID[code]}" for code in sorted({*OF_ALL, *codes}))
    return f"Exit codes: {', '.join(said)}."


def code_of(status: Status) -> ExitCode:
    """Return how a command ends that had a campaign go on as far as it can."""
    return ExitCode.WAITS if status.state in ("waiting", "paused") else ExitCode.DONE

"""Kills: a process is ended by `kill -9` just before each thing that it does to a campaign's files."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.crash.contents import contents
from tests.benchmarks.crash.prepared import Prepared
from tests.benchmarks.crash.trials import (
    Outcome,
    Trial,
    apart,
    command,
    each,
    end_of,
    events_of,
    go_on,
    harms_of_sqlite,
    judge,
    killed_at,
    left_behind,
    spread,
)
from tests.support.campaigns import run
from tests.support.command_line import does

COMMANDS: dict[str, Sequence[str]] = {
    "retract": ("r001-02", "--reason", "wafer broke"),
    "extend": ("--rounds", "1"),
    "abandon": ("r002-02", "--reason", "too brittle"),
    "reject": ("r002-03", "--reason", "too brittle"),
    "ingest": ("r002-01.xy", "edx-2.csv", "notes.pdf"),
}


def kill(prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
    """A replay killed at each event and gone on with; commands and a migration killed at each and repeated.

    Args:
        prepared: Campaigns to do it to.
        most: Events of each, evenly among all; by default all.
        workers: Trials at a time.
    """
    base = prepared.begun
    counted = prepared.copy(base, "counted")
    events, _ = events_of(counted, partial(run, counted))
    expected = end_of(go_on(prepared.copy(base, "undisturbed")))
    cases = spread(list(enumerate(events, start=1)), most)
    yield from each(partial(_kill_replay, prepared, expected), cases, workers=workers)
    for name, words in COMMANDS.items():
        if name == "ingest":
            words = [str(prepared.by_hand / word) for word in words]
        yield from _kill_command(prepared, name, prepared.lab, [name, *words], most=most, workers=workers)
    older = _older(prepared)
    yield from _kill_command(prepared, "migration", older, ["extend", "--rounds", "1"], most=most, workers=workers)


def _kill_replay(prepared: Prepared, expected: dict[str, Any], case: tuple[int, str]) -> Trial:
    number, event = case
    folder = prepared.copy(prepared.begun, f"kill-{number}")
    killed = apart(killed_at(folder, partial(run, folder), number))
    ending = killed if killed.how != "killed" else go_on(folder)
    outcome, detail = judge(ending, expected)
    if outcome == "survived":
        outcome, detail = _judge_files(folder)
    prepared.forget(folder)
    return Trial("kill", "replay", f"{number}: {event}", outcome, detail)


def _judge_files(folder: Path) -> tuple[Outcome, str]:
    if left := left_behind(folder):
        return "lost", f"half written: {', '.join(left)[:200]}"
    if harms := harms_of_sqlite(folder):
        return "lost", harms
    return "survived", ""


def _kill_command(
    prepared: Prepared, what: str, base: Path, words: Sequence[str], *, most: int | None, workers: int
) -> Iterator[Trial]:
    counted = prepared.copy(base, f"counted-{what}")
    events, _ = events_of(counted, _doing(counted, words))
    end_of(go_on(counted))
    expected = contents(counted)
    cases = spread(list(enumerate(events, start=1)), most)
    yield from each(partial(_kill_and_repeat, prepared, what, base, words, expected), cases, workers=workers)


def _kill_and_repeat(
    prepared: Prepared, what: str, base: Path, words: Sequence[str], expected: dict[str, Any], case: tuple[int, str]
) -> Trial:
    number, event = case
    folder = prepared.copy(base, f"{what}-{number}")
    killed = apart(killed_at(folder, _doing(folder, words), number))
    again = killed if killed.how != "killed" else command(words[0], folder, *words[1:])
    if again.how in ("done", "said"):  # that it is done already, perhaps
        again = go_on(folder)._replace(value=contents(folder))
    outcome, detail = judge(again, expected)
    if outcome == "survived":
        outcome, detail = _judge_files(folder)
    prepared.forget(folder)
    return Trial("kill", f"`{what}`, repeated", f"{number}: {event}", outcome, detail)


def _doing(folder: Path, words: Sequence[str]) -> Callable[[], str]:
    return partial(does, words[0], folder, *words[1:])


def _older(prepared: Prepared) -> Path:
    """Unpack a paused campaign of version 0.1."""
    with tarfile.open(Path(__file__).parents[2] / "support" / "campaigns-0.1.tar.xz") as archive:
        archive.extractall(prepared.home / "older", filter="data")
    return prepared.home / "older" / "replay"

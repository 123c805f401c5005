"""Kills: a process is ended by `kill -9` just before each thing that it does to a campaign's files."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from glassmap.agent.store.campaign_store import CampaignStore
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
    """A replay and a laboratory killed at each event, which go on; commands and a migration killed and repeated.

    Args:
        prepared: Campaigns to do it to.
        most: Events of each, evenly among all; by default all.
        workers: Trials at a time.
    """
    for what, base in (("replay", prepared.begun), ("laboratory of three wafers", prepared.wafers)):
        counted = prepared.copy(base, "counted")
        events, _ = events_of(counted, partial(run, counted))
        expected = end_of(go_on(prepared.copy(base, "undisturbed")))
        cases = spread(list(enumerate(events, start=1)), most)
        yield from each(partial(_kill_run, prepared, what, base, expected), cases, workers=workers)
    for name, words in COMMANDS.items():
        if name == "ingest":
            words = [str(prepared.by_hand / word) for word in words]
        yield from _kill_command(prepared, name, prepared.lab, [name, *words], most=most, workers=workers)
    older = _older(prepared)
    yield from _kill_command(prepared, "migration", older, ["extend", "--rounds", "1"], most=most, workers=workers)


def _kill_run(prepared: Prepared, what: str, base: Path, expected: dict[str, Any], case: tuple[int, str]) -> Trial:
    number, event = case
    folder = prepared.copy(base, f"kill-{number}")
    killed = apart(killed_at(folder, partial(run, folder), number))
    ending = killed if killed.how != "killed" else go_on(folder)
    outcome, detail = judge(ending, expected)
    if outcome == "survived":
        outcome, detail = _judge_files(folder)
    if outcome == "survived":
        outcome, detail = _judge_orders(folder)
    prepared.forget(folder)
    return Trial("kill", what, f"{number}: {event}", outcome, detail)


def _judge_files(folder: Path) -> tuple[Outcome, str]:
    if left := left_behind(folder):
        return "lost", f"half written: {', '.join(left)[:200]}"
    if harms := harms_of_sqlite(folder):
        return "lost", harms
    return "survived", ""


def _judge_orders(folder: Path) -> tuple[Outcome, str]:
    """Judge whether all that was asked for exists, where that is known, and none of it was asked for twice."""
    with CampaignStore.read_only(folder) as store:
        asked = [(s.wafer, s.sample) for s in store.suggestions() if s.sample]
        known = store.existing()
    exist = {*zip(known.wafers, known.names, strict=True)}
    if wrong := [one for one in asked if one not in exist or asked.count(one) > 1]:
        return "lost", f"ordered twice, or without being there: {wrong[:3]}"
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

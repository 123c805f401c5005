"""Trials: something is done to a campaign in a process of its own, and what became of it is one of six words.

The processes are forked from one that has loaded everything and done nothing, so that a trial costs what it does and
not its imports.
"""

import importlib
import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from glassmap.agent.errors import GlassmapError
from glassmap.flows.cli.exit_codes import ExitCode
from tests.support.campaigns import fingerprint, run
from tests.support.command_line import glassmap

LIMIT = 180.0  # s, after which a process is stuck; the longest takes a few when nothing else runs
FORK = multiprocessing.get_context("fork")
OUTCOMES = ("survived", "said", "lost", "stuck", "traceback", "unnoticed")
Outcome = Literal["survived", "said", "lost", "stuck", "traceback", "unnoticed"]
T = TypeVar("T")
How = Literal["done", "said", "traceback", "killed", "stuck"]


class Trial(NamedTuple):
    """What became of a campaign."""

    part: str
    what: str  # was done to it
    case: str  # which of them
    outcome: Outcome
    detail: str = ""


class Ending(NamedTuple):
    """How a process ended: by itself, refusing in words, with a traceback, killed, or not at all."""

    how: How
    text: str = ""  # that it printed or raised
    value: Any = None  # that its function returned


def apart(function: Callable[[], Any], *, limit: float = LIMIT) -> Ending:
    """Run a function in a process of its own, which may be killed, and return how it ended."""
    listening, told = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_tell, args=(function, told))
    child.start()
    told.close()
    try:
        ending = listening.recv() if listening.poll(limit) else Ending("stuck", f"no end within {limit:g} s")
    except EOFError:  # it was killed, or died
        child.join()
        is_ours = child.exitcode == -signal.SIGKILL
        ending = Ending("killed" if is_ours else "traceback", f"ended with {child.exitcode}")
    child.kill()
    child.join()
    listening.close()
    return ending


def _tell(function: Callable[[], Any], told: Connection) -> None:
    """Run a function and tell how it ended; what it prints is nobody's."""
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            value = function()
            told.send(value if isinstance(value, Ending) else Ending("done", value=value))
        except (GlassmapError, OSError) as error:  # as the command line takes them
            told.send(Ending("said", str(error)))
        except BaseException as error:
            told.send(Ending("traceback", _last_lines(error)))
    told.close()
    os._exit(0)


def command(*words: object) -> Ending:
    """Run `glassmap` with some words, in a process of its own."""
    return commands([words])[0]


def commands(asked: Sequence[Sequence[object]]) -> list[Ending]:
    """Run `glassmap` with some words after others, in a process of its own; in one each where that doesn't end."""

    def ask() -> list[Ending]:
        draw_nothing()
        return [_ask(words) for words in asked]

    ending = apart(ask)
    if ending.how == "done":
        return ending.value
    return [ending] if len(asked) == 1 else [command(*words) for words in asked]


def _ask(words: Sequence[object]) -> Ending:
    result = glassmap(*words)
    if result.exit_code in (ExitCode.DONE, ExitCode.WAITS):
        return Ending("done", result.output)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return Ending("said", result.output)
    return Ending("traceback", _last_lines(result.exception))


def _last_lines(error: BaseException) -> str:
    """Say what an error is, and the last places of this project that it went through."""
    places = [f"{Path(at.filename).stem}.{at.name}" for at in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__}: {error} ({', '.join(places[-4:])})"


def draw_nothing() -> None:
    """Leave pictures out: what they show is read all the same, and they take most of a command's time."""
    from matplotlib.figure import Figure

    from glassmap.dashboard import pictures

    for name in ("draw_learning_curve", "draw_peak_maps", "draw_examples"):
        setattr(pictures, name, lambda *values, **named: None)
    Figure.savefig = lambda *values, **named: None  # type: ignore[method-assign]


def go_on(folder: Path) -> Ending:
    """Advance a campaign as far as it goes, in a process of its own; its value is what it found out."""

    def advance() -> dict[str, Any]:
        run(folder)
        return fingerprint(folder)

    return apart(advance)


def judge(ending: Ending, expected: Any) -> tuple[Outcome, str]:
    """Return what a campaign that went on came to, beside the end that it would have had."""
    match ending.how:
        case "done":
            differing = [name for name in expected if ending.value.get(name) != expected[name]]
            differing += [name for name in ending.value if name not in expected]
            return ("lost", _difference(ending.value, expected, differing)) if differing else ("survived", "")
        case "said":
            return "said", ending.text
        case "killed":
            return "traceback", ending.text
        case how:
            return how, ending.text


def _difference(found: dict[str, Any], expected: dict[str, Any], names: Sequence[str]) -> str:
    """Say in what two ends differ, and show the first of it."""
    now, then = found.get(names[0]), expected.get(names[0])
    if isinstance(now, list) and isinstance(then, list):
        now, then = [row for row in now if row not in then][:2], [row for row in then if row not in now][:2]
    return f"another end: {', '.join(names)[:200]}; {now!r:.300} instead of {then!r:.300}"


def end_of(ending: Ending) -> Any:
    """Return what a process that nothing disturbed came to.

    Raises:
        RuntimeError: If it ended otherwise; then nothing can be tried.
    """
    if ending.how != "done":
        raise RuntimeError(f"Nothing was done to it, and it ended as {ending.how}: {ending.text}")
    return ending.value


def left_behind(folder: Path) -> list[str]:
    """Files that are half written."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(".partial*"))


def harms_of_sqlite(folder: Path) -> str:
    """What SQLite finds wrong with a store; empty where nothing is."""
    with closing(sqlite3.connect(folder / "campaign.db")) as db:
        found = [line for (line,) in db.execute("PRAGMA integrity_check")]
    return "" if found == ["ok"] else "; ".join(found)[:200]


# --- what a process does to a campaign's files, event by event

WRITES = re.compile(r"\s*(BEGIN IMMEDIATE|COMMIT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP)\b", re.IGNORECASE)


def watch_events(folder: Path, on_event: Callable[[int, str], None]) -> None:
    """Have each thing that this process does to files in a folder told just before it is done, with its number.

    That is: a file opened to write, renamed, removed, synced, a folder made, a statement of SQL that writes, a commit.
    It can't be ended; for a process of its own.
    """
    inside, number = str(folder.resolve()), 0

    def tell(what: str) -> None:
        nonlocal number
        number += 1
        on_event(number, what)

    def is_inside(path: object) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(inside)

    def look(event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and is_inside(values[0]):
            tell(f"open {Path(os.fsdecode(values[0])).name}")
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir") and is_inside(values[0]):
            tell(f"{event[3:]} {Path(os.fsdecode(values[0])).name}")

    sync, connect = os.fsync, sqlite3.connect

    def synced(file: Any) -> None:
        tell("fsync")
        sync(file)

    def connected(*values: Any, **named: Any) -> sqlite3.Connection:
        db, last = connect(*values, **named), ""

        def traced(sql: str) -> None:
            nonlocal last
            if WRITES.match(sql) and sql != last:  # a trigger's statement comes as the one that fires it
                tell(f"SQL {sql.split()[0]}")
            last = sql

        db.set_trace_callback(traced)
        return db

    os.fsync, sqlite3.connect = synced, connected
    sys.addaudithook(look)


def events_of(folder: Path, function: Callable[[], object]) -> tuple[list[str], Any]:
    """Run a function in a process of its own; return what it did to the files in a folder, and what it returned."""

    def work() -> tuple[list[str], Any]:
        events: list[str] = []
        watch_events(folder, lambda _, what: events.append(what))
        value = function()
        return list(events), value

    return end_of(apart(work))


def killed_at(folder: Path, function: Callable[[], object], number: int, by: int = signal.SIGKILL) -> Callable[[], Any]:
    """Return a function that does the same, but is killed just before event `number`."""

    def work() -> object:
        watch_events(folder, lambda at, _: os.kill(os.getpid(), by) if at == number else None)
        return function()

    return work


# --- many trials


def load_what(function: Callable[[], object]) -> None:
    """Import here what a function imports, in a process of its own, so that later ones need not."""

    def work() -> list[str]:
        function()
        return list(sys.modules)

    for name in end_of(apart(work)):
        with suppress(ImportError):
            importlib.import_module(name)


def spread(cases: Sequence[T], most: int | None) -> list[T]:
    """Return at most so many of the cases, evenly among all."""
    if most is None or most >= len(cases):
        return list(cases)
    return [cases[round(k * (len(cases) - 1) / max(1, most - 1))] for k in range(most)]


def each(trial: Callable[[Any], T], cases: Sequence[Any], *, workers: int) -> Iterator[T]:
    """Yield what became of each case, as they end, some at a time."""
    with ProcessPoolExecutor(min(workers, max(1, len(cases))), mp_context=FORK) as pool:
        for done in as_completed([pool.submit(trial, case) for case in cases]):
            yield done.result()


def summary(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """A row a part and what was done, with how many came to what."""
    rows = []
    for part, what in dict.fromkeys((trial.part, trial.what) for trial in trials):
        counts = Counter(trial.outcome for trial in trials if (trial.part, trial.what) == (part, what))
        rows.append({"part": part, "what": what, "trials": counts.total()} | {name: counts[name] for name in OUTCOMES})
    return rows

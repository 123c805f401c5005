"""Harms: some bytes of a file change, or it is cut or gone; then people look at the campaign, mend it and go on."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.crash.contents import contents
from tests.benchmarks.crash.prepared import Prepared
from tests.benchmarks.crash.trials import (
    Ending,
    Outcome,
    Trial,
    apart,
    command,
    commands,
    each,
    end_of,
    go_on,
    judge,
    spread,
)
from tests.support.campaigns import fingerprint

HARMS = {"campaign.db": 500}  # of each other kind of file 100
ARTEFACTS = 100
MOST_BYTES = 64
ALLOY, SAMPLE = "Co30V40Zr30", "r001-01"
# Words by which a command says that something is the matter, and not only shows something else.
SAID = re.compile(
    r"harmed|damaged|changed|repair|made again|trained again|can't be read|lost|missing|verify", re.IGNORECASE
)

Words = tuple[str, ...]


class Kind(NamedTuple):
    """A kind of file that is harmed, and who reads it."""

    base: Path  # the campaign
    pattern: str  # of the files
    readers: tuple[Words, ...]
    end: Callable[[Path], dict[str, Any]]  # what a campaign that has gone on has come to


class _Expected(NamedTuple):
    """What becomes of a campaign that isn't harmed."""

    shown: dict[str, str]  # by each reader
    end: dict[str, Any]


def harm(prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
    """Harm the store and each kind of file, one at a time."""
    replay, lab = prepared.halfway, prepared.lab
    status, log, orders, ledger = (("status",), ("log",), ("orders",), ("ledger",))
    map_, generate, report = ("map",), ("generate", ALLOY), ("report", "-o", "{folder}/report.html")
    alloy, sample = ("trace", ALLOY), ("trace", SAMPLE)
    kinds = {
        "campaign.db": Kind(
            replay, "campaign.db", (status, log, orders, ledger, map_, alloy, sample, generate), fingerprint
        ),
        "checkpoint, JSON": Kind(replay, "checkpoints/*.json", (alloy, generate), fingerprint),
        "checkpoint, weights": Kind(replay, "checkpoints/*.safetensors", (alloy, generate), fingerprint),
        "map": Kind(replay, "maps/*.parquet", (map_, alloy), fingerprint),
        "archive": Kind(replay, "maps/*.h5", (map_, alloy, report), fingerprint),
        "scan": Kind(lab, "scans/*", (sample, ledger), contents),
        "order": Kind(lab, "orders/*", (orders, status), contents),
    }
    for what, kind in kinds.items():
        expected = _expect(prepared, what, kind)
        seeds = spread(range(HARMS.get(what, ARTEFACTS)), most)
        yield from each(partial(_harm, prepared, what, kind, expected), seeds, workers=workers)


def _expect(prepared: Prepared, what: str, kind: Kind) -> _Expected:
    folder = prepared.copy(kind.base, f"harm-{what}-none")
    shown = _ask(kind, folder)
    for ending in shown.values():
        end_of(ending)
    end_of(go_on(folder))
    end = end_of(apart(partial(kind.end, folder)))
    return _Expected({reader: ending.text for reader, ending in shown.items()}, end)


def _ask(kind: Kind, folder: Path) -> dict[str, Ending]:
    """What each reader shows of a campaign, without the folder's name and how the lines are broken."""
    asked = [[words[0], folder, *(word.format(folder=folder) for word in words[1:])] for words in kind.readers]
    endings = [one._replace(text=" ".join(one.text.replace(str(folder), "").split())) for one in commands(asked)]
    return {" ".join(words): ending for words, ending in zip(kind.readers, endings, strict=True)}


def _harm(prepared: Prepared, what: str, kind: Kind, expected: _Expected, seed: int) -> Trial:
    rng = np.random.default_rng(seed)
    folder = prepared.copy(kind.base, f"harm-{what}-{seed}")
    files = sorted(path for path in folder.glob(kind.pattern) if not path.name.startswith("."))
    path = files[rng.integers(len(files))]
    done = harm_file(path, rng, whole=what != "campaign.db" and seed % 10 < 2)
    if what == "campaign.db":
        whole = _rows(kind.base / path.name)
        while (rows := _rows(path)) is not None and rows == whole:  # it hit what nothing is kept in
            shutil.copy(kind.base / path.name, path)
            done = harm_file(path, rng, whole=False)
    outcome, detail = _live_with_it(kind, expected, folder, is_repaired_first=seed % 2 == 0)
    prepared.forget(folder)
    return Trial("harm", what, f"{seed}: {path.name}, {done}", outcome, detail)


def harm_file(path: Path, rng: np.random.Generator, *, whole: bool) -> str:
    """Change up to 64 bytes of a file, or cut or remove it where it is to be harmed as a whole; say what was done."""
    content = bytearray(path.read_bytes())
    if whole and rng.random() < 0.5:
        path.unlink()
        return "removed"
    if whole:
        path.write_bytes(content[: len(content) // 2])
        return "cut"
    n = int(rng.integers(1, MOST_BYTES + 1))
    at = int(rng.integers(max(1, len(content) - n)))
    for place in range(at, min(at + n, len(content))):
        content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return f"{n} bytes at {at}"


def _live_with_it(kind: Kind, expected: _Expected, folder: Path, *, is_repaired_first: bool) -> tuple[Outcome, str]:
    """Look, verify, mend and go on; returns the worst that became of it."""
    verified = command("verify", folder)  # before somebody who only looks has a map made again
    asked = _ask(kind, folder)
    for name, ending in {**asked, "verify": verified}.items():
        if ending.how in ("traceback", "stuck", "killed"):
            return ("stuck" if ending.how == "stuck" else "traceback"), f"{name}: {ending.text}"
    for name, ending in asked.items():
        if ending.how == "done" and ending.text != expected.shown[name] and not SAID.search(ending.text):
            return "unnoticed", f"{name} shows {ending.text:.300}"
    if verified.how == "done":
        return "unnoticed", "verify finds nothing"
    return _mend_and_go_on(kind, expected, folder, is_repaired_first=is_repaired_first)


def _mend_and_go_on(kind: Kind, expected: _Expected, folder: Path, *, is_repaired_first: bool) -> tuple[Outcome, str]:
    """Go on, mended before or where that is refused."""
    repaired = command("repair", folder) if is_repaired_first else None
    ending = go_on(folder)
    if ending.how == "said" and repaired is None:
        repaired = command("repair", folder)
        ending = go_on(folder)
    if ending.how == "done" and repaired is None and command("verify", folder).how == "said":
        repaired = command("repair", folder)  # what nobody who goes on reads
    if repaired is not None and repaired.how in ("traceback", "stuck", "killed"):
        return ("stuck" if repaired.how == "stuck" else "traceback"), f"repair: {repaired.text}"
    if ending.how == "done":
        ending = apart(partial(kind.end, folder))
    outcome, detail = judge(ending, expected.end)
    said = "" if repaired is None else _plain(repaired.text)
    if outcome == "survived":
        again = command("verify", folder)
        return ("survived", "") if again.how == "done" else ("said", f"verify still says: {_plain(again.text)}")
    if outcome == "lost" and re.search("lost", said, re.IGNORECASE):
        return "said", said
    return outcome, f"{detail} {said}"


def _plain(text: str) -> str:
    """The end of what a command said, in a line."""
    return " ".join(text.split())[-300:]


def _rows(store: Path) -> list[Any] | None:
    """Every row of every table, as SQLite reads them; None where it can't."""
    try:
        with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            if db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                return None
            schema = db.execute("SELECT * FROM sqlite_schema").fetchall()
            tables = db.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'").fetchall()
            columns = {name: "*" if has_no_rowid else "rowid, *" for name, has_no_rowid in tables}
            return [schema, *(db.execute(f"SELECT {what} FROM {name}").fetchall() for name, what in columns.items())]
    except (sqlite3.Error, UnicodeDecodeError):
        return None

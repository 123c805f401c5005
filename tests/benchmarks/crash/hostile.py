"""Strange files: a thousand lie in drop folders, and good ones between them, which are all taken."""

import io
import os
import pickle
import re
import socket
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from glassmap.agent.data.scan_files import SUFFIXES
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.backends.lab.drop_folders import find
from tests.benchmarks.crash.prepared import Prepared
from tests.benchmarks.crash.trials import Outcome, Trial, commands, each, go_on, judge
from tests.support.laboratory import scan_text

FILES, LOT = 1000, 40  # altogether, and in one drop folder
TABLES = (".csv", ".xlsx", ".xlsm")
READERS = (
    ("ledger",),
    ("log",),
    ("orders",),
    ("status",),
    ("trace", "r002-01"),
    ("report", "-o", "{folder}/report.html"),
)
ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # which have a terminal do something
SCRIPT = re.compile(r"<(img src=x|script>alert|svg onload)", re.IGNORECASE)

STEMS: tuple[bytes, ...] = (
    b"a\x1b]0;title\x07b",
    b"\x1b[2J\x1b[H",
    b"line\nbreak\r\ttab",
    "right\u202eto left".encode(),
    b"\xff\xfe\x80 no UTF-8",
    b"\xc2\x9b31m",
    b"x" * 240,
    "é".encode() * 120,
    "漢".encode() * 80,
    b"=HYPERLINK('http:..evil','x')",
    b"+1+1",
    b"-2-3",
    b"@SUM(A1)",
    b"<img src=x onerror=alert(1)>",
    b"<script>alert(1)<",
    b"[red]bold[",
    b"[link=file:..etc]x",
    b"$(touch pwned)",
    b"`id`; rm -rf ~",
    b"' OR 1=1; DROP TABLE spectra; --",
    b"..%2f..%2fetc%2fpasswd",
    b"C:\\windows\\system32",
    b"CON",
    b"-rf",
    b"--help",
    b"r002-01 ",
    b"R002-02",
    b"r002-03.xy",
    b"r999-99",
    b"u0001",
    b" ",
    b"{folder}%s%n{0}",
)


def hostile(prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
    """Drop strange files between good ones, lot by lot; each file and each lot is a trial."""
    lots = range(FILES // LOT if most is None else min(most, FILES // LOT))
    for trials in each(partial(_take_lot, prepared), lots, workers=workers):
        yield from trials


def _take_lot(prepared: Prepared, seed: int) -> list[Trial]:
    rng = np.random.default_rng(seed)
    folder = prepared.copy(prepared.lab, f"hostile-{seed}")
    drop = folder / "drop"
    written = dict(_write_strange(drop, rng))
    for path in prepared.by_hand.iterdir():
        (drop / path.name).write_bytes(path.read_bytes())
    ending = go_on(folder)
    trials = [] if ending.how == "done" else [_trial("drop folder", f"lot {seed}", judge(ending, {}))]
    with CampaignStore.read_only(folder) as store:
        ledger = {file.path: file for file in store.files()}
        missing = {s.id for s in store.suggestions(round_=2, pending=True)}
    for path in sorted(prepared.by_hand.glob("*.xy")):
        became: Outcome = "lost" if path.stem in missing else "survived"
        trials.append(_trial("good file between strange ones", f"lot {seed}, {path.name}", (became, "")))
    for path, what in written.items():
        entry = ledger.get(find(path, folder).name)
        if entry is None:
            trials.append(_trial("strange file", what, ("lost", f"{path.name!r} is not in the ledger")))
        else:
            is_told = entry.state == "quarantined" or bool(entry.reason)
            trials.append(_trial("strange file", what, ("said" if is_told else "survived", "")))
    return [*trials, *_look(folder, seed)]


def _trial(what: str, case: str, became: tuple[Outcome, str]) -> Trial:
    return Trial("hostile", what, case, *became)


def _look(folder: Path, seed: int) -> Iterator[Trial]:
    """What people see of it acts nowhere: not on the terminal, not in a browser, not in a spreadsheet."""
    asked = [[words[0], folder, *(word.format(folder=folder) for word in words[1:])] for words in READERS]
    for words, ending in zip(READERS, commands(asked), strict=True):
        became, detail = judge(ending._replace(value={}), {})
        if became == "survived" and (found := ACTING.search(ending.text)):
            became, detail = "unnoticed", f"{found[0]!r} in {ending.text[max(0, found.start() - 40) : found.end()]!r}"
        yield _trial(f"`{words[0]}` after it", f"lot {seed}", (became, detail))
    page = (folder / "report.html").read_text(encoding="utf-8", errors="replace")
    runs = SCRIPT.search(page)
    yield _trial("report's page", f"lot {seed}", ("unnoticed", runs[0]) if runs else ("survived", ""))
    cells = [
        cell for path in (folder / "orders").glob("*.csv") for cell in path.read_text().replace("\n", ",").split(",")
    ]
    formula = next((cell for cell in cells if re.match(r'"?[=+@\t\r-](?![\d.]+$)', cell)), None)
    yield _trial("orders' cells", f"lot {seed}", ("unnoticed", formula) if formula else ("survived", ""))


# --- strange files


def _write_strange(drop: Path, rng: np.random.Generator) -> Iterator[tuple[Path, str]]:
    """Write a lot of strange files; yield each with what it is."""
    contents = list(CONTENTS.items())
    for number in range(LOT):
        what, make = contents[rng.integers(len(contents))]
        stem = STEMS[rng.integers(len(STEMS))]
        suffixes = (*SUFFIXES, *TABLES) if rng.random() < 0.9 else (".pdf", "", ".XY.exe")
        suffix = str(suffixes[rng.integers(len(suffixes))]).encode()
        part = f"{number:02d}".encode()
        path = Path(os.fsdecode(os.fsencode(drop) + b"/" + part + stem[: 253 - len(suffix)] + suffix))
        odd = rng.random()
        if odd < 0.1:
            what = _make_odd(path, rng)
        else:
            path.write_bytes(make(rng))
        if odd > 0.8:
            seconds = [-(10**9), 0, 2**33, 2**34, 10**10][rng.integers(5)]
            os.utime(path, (seconds, seconds))
            what += f", of {seconds} s"
        yield path, f"{what}, {stem[:20]!r}{suffix.decode()}"


def _make_odd(path: Path, rng: np.random.Generator) -> str:
    """Put there what is no regular file with content; returns what."""
    match rng.integers(5):
        case 0:
            path.symlink_to("/etc/passwd")
            return "link"
        case 1:
            path.symlink_to(path)
            return "link to itself"
        case 2:
            os.mkfifo(path)
            return "pipe"
        case 3:
            with path.open("wb") as file:
                file.truncate(2**40)
            return "a terabyte of nothing"
        case _:
            here = Path.cwd()
            os.chdir(path.parent)  # a socket's path is short
            try:
                with socket.socket(socket.AF_UNIX) as listening:
                    listening.bind(os.fsencode(path.name)[:100])
            finally:
                os.chdir(here)
            (path.parent / os.fsdecode(os.fsencode(path.name)[:100])).rename(path)
            return "socket"


def _zip(**parts: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def _columns(rows: list[str]) -> bytes:
    return "\n".join(rows).encode()


def _scan(rng: np.random.Generator) -> bytes:
    return scan_text(rng.dirichlet((2, 2, 2)), rng, ".xy").encode()


class _Unpickled:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch /tmp/glassmap-crash-pickle",)


HEAD = "sample,Co (at.%),V (at.%),Zr (at.%)"
CONTENTS: dict[str, Callable[[np.random.Generator], bytes]] = {
    "random bytes": lambda rng: rng.bytes(int(rng.integers(1, 5000))),
    "empty": lambda rng: b"",
    "zeros": lambda rng: bytes(1000),
    "a scan": _scan,
    "a scan, cut": lambda rng: _scan(rng)[: int(rng.integers(5000))],
    "a scan with a byte changed": lambda rng: _scan(rng).replace(b"1", rng.bytes(1), 1),
    "a scan in UTF-16": lambda rng: _scan(rng).decode().encode("utf-16"),
    "a scan backwards": lambda rng: b"\n".join(reversed(_scan(rng).splitlines())),
    "a scan twice": lambda rng: _scan(rng) * 2,
    "not a number": lambda rng: _columns([f"{x} nan" for x in range(100)]),
    "infinite": lambda rng: _columns([f"{x} 1e999" for x in range(100)]),
    "huge numbers": lambda rng: _columns([f"{x} 1e308" for x in range(100)]),
    "negative": lambda rng: _columns([f"{x} {-x}" for x in range(100)]),
    "a number of a million digits": lambda rng: b"1 " + b"9" * 10**6,
    "one column": lambda rng: _columns([str(x) for x in range(100)]),
    "a thousand columns": lambda rng: _columns([" ".join(map(str, range(1000)))] * 20),
    "100,000 rows": lambda rng: _columns([f"{x / 1000} 1" for x in range(100_000)]),
    "one point": lambda rng: b"10 100",
    "constant": lambda rng: _columns([f"{20 + x / 10} 7" for x in range(600)]),
    "nested XML": lambda rng: b"<a>" * 50_000,
    "entities": lambda rng: b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>',
    "an external entity": lambda rng: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "XML of nothing": lambda rng: b"<xrdMeasurements/>",
    "a zip bomb": lambda rng: _zip(**{"Experiment0/RawData0.xml": bytes(20 * 2**20)}),
    "a zip that climbs": lambda rng: _zip(**{"../../../tmp/glassmap-crash-climbed": b"x"}),
    "a zip cut": lambda rng: _zip(**{"xl/workbook.xml": rng.bytes(3000)})[:1000],
    "a pickle": lambda rng: pickle.dumps(_Unpickled()),
    "HDF5": lambda rng: b"\x89HDF\r\n\x1a\n" + rng.bytes(500),
    "a table of formulas": lambda rng: _columns([HEAD, "=cmd|'/c calc'!A1,30,30,40", "@SUM(1),10,10,80"]),
    "a table of scripts": lambda rng: _columns([HEAD, "<script>alert(1)</script>,30,30,40", "\x1b[2J,10,10,80"]),
    "a table of too much": lambda rng: _columns([HEAD, "one,90,90,90"]),
    "a table of nothing": lambda rng: _columns([HEAD]),
    "a table of no numbers": lambda rng: _columns([HEAD, "one,nan,inf,-1"]),
    "a table twice": lambda rng: _columns([HEAD, "one,30,30,40", "one,10,10,80"]),
    "a table of 10,000 columns": lambda rng: ",".join(f"c{k}" for k in range(10_000)).encode(),
    "a table of other elements": lambda rng: _columns(["sample,Fe (at.%),Ti (at.%),Nb (at.%)", "one,30,30,40"]),
}

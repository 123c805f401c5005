"""Four thousand harmed files: each is read or refused with a reason, at once, and touches nothing else."""

import contextlib
import io
import os
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.data.composition_table import read_composition_table
from glassmap.agent.data.scan_files import read_raw_scan
from glassmap.agent.errors import GlassmapError
from tests.support.laboratory import scan_text

LONGEST = 2.0  # s
WATCHED: list[tuple[str, str]] = []  # what Python did while a file was read
watching = False
NUMBERS = b"0 -1 1e999 nan inf 99999999999999 1e-320  x 0x10 1_0 \xef\xbc\x91".split(b" ")
PIECES = (*b'< > " \x00 \xff\xfe &a; <!DOCTYPE , .. ../../etc/passwd'.split(b" "), b"\n", b" " * 1000)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and (event in ("pickle.find_class", "exec", "os.system", "subprocess.Popen", "socket.connect")):
        WATCHED.append((event, str(arguments)[:200]))
    if watching and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        WATCHED.append((event, os.fsdecode(arguments[0])))


sys.addaudithook(_watch)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    global watching
    WATCHED.clear()
    watching = True
    try:
        yield
    finally:
        watching = False


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Harm a file in one to four places."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data) + 1))
        until = min(len(data), at + int(rng.integers(1, 40)))
        match rng.integers(8):
            case 0:
                del data[at:]  # cut
            case 1:
                del data[at:until]
            case 2:
                data[at:at] = data[at:until]  # repeated
            case 3:
                data[at:at] = PIECES[rng.integers(len(PIECES))]
            case 4 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 5:
                other = int(rng.integers(len(data) + 1))
                data[at:until] = data[other : other + 40]
            case _:  # a number becomes another
                start = at
                while start < len(data) and not chr(data[start]).isdigit():
                    start += 1
                end = start
                while end < len(data) and chr(data[end]) in "0123456789.eE+-":
                    end += 1
                data[start:end] = NUMBERS[rng.integers(len(NUMBERS))]
        if not data:
            break
    return bytes(data)


def mutate_archive(content: bytes, rng: np.random.Generator) -> bytes:
    """Harm a part of an archive, or rename it, and pack it again; one in five times the archive itself."""
    if rng.random() < 0.2:
        return mutate(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = list(parts)[rng.integers(len(parts))]
    if rng.random() < 0.1:
        parts["../" * int(rng.integers(4)) + name + "x"] = parts.pop(name)
    else:
        parts[name] = mutate(parts[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return packed.getvalue()


def hold(path: Path, contents: Iterator[bytes], read: Callable[[Path], None]) -> tuple[int, int]:
    """Read each content from that path; returns how many were read and how many refused."""
    taken = refused = 0
    for content in contents:
        path.write_bytes(content)
        start = time.monotonic()
        with watched(), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read(path)
                taken += 1
            except GlassmapError as error:
                refused += 1
                assert len(str(error)) < 2000
        seconds = time.monotonic() - start
        if seconds > LONGEST / 2:  # the machine may be busy: once more
            start = time.monotonic()
            with contextlib.suppress(GlassmapError):
                read(path)
            seconds = time.monotonic() - start
        assert seconds < LONGEST
        others = {
            (event, what)
            for event, what in WATCHED
            if event != "exec" and not what.startswith((str(path), sys.prefix, sys.base_prefix)) and what != os.devnull
        }
        assert not others, "nothing but the file is touched"
    return taken, refused


def check_scan(path: Path) -> None:
    scan = read_raw_scan(path, axis="two_theta")
    assert scan.axis.shape == scan.intensity.shape
    assert np.isfinite(scan.axis).all() and np.isfinite(scan.intensity).all() and (np.diff(scan.axis) > 0).all()
    assert scan.wavelength is None or 0.05 <= scan.wavelength <= 5


def check_table(path: Path) -> None:
    table = read_composition_table(path)
    assert len(table.samples) == len(table.compositions)
    np.testing.assert_allclose(table.compositions.sum(axis=1), 1)
    assert (table.compositions >= 0).all()


ROWS = "".join(f"r001-{k:02d},{k},30,{70 - k},W1\n" for k in range(1, 15))
TABLE = f"sample,Co (at.%),V (at.%),Zr (at.%),wafer\n{ROWS}"


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("XRD-918-16_10.xrdml", 500),
        ("m54313_om2th_10.xrdml", 500),
        ("TwoTheta_scan_powder.rasx", 200),
        ("23-012-AG_2thomegascan_long.brml", 60),
    ],
)
def test_harmed_instrument_files_are_read_or_refused(name: str, times: int, shared_data: Path, tmp_path: Path):
    source = shared_data / "instrument-files" / name
    content, rng = source.read_bytes(), np.random.default_rng(0)
    check_scan(source)  # what is imported now is not the file's doing
    harm = mutate if source.suffix == ".xrdml" else mutate_archive
    taken, refused = hold(tmp_path / name, (harm(content, rng) for _ in range(times)), check_scan)
    assert taken + refused == times and refused > times / 10


@pytest.mark.parametrize("suffix", [".xy", ".csv", ".xrdml"])
def test_harmed_scans_of_text_are_read_or_refused(suffix: str, tmp_path: Path):
    rng = np.random.default_rng(1)
    content = scan_text(np.array([0.3, 0.3, 0.4]), rng, suffix).encode()
    taken, refused = hold(tmp_path / f"scan{suffix}", (mutate(content, rng) for _ in range(400)), check_scan)
    assert taken + refused == 400 and refused > 40


def test_harmed_tables_are_read_or_refused(tmp_path: Path):
    rng = np.random.default_rng(2)
    contents = (mutate(TABLE.encode(), rng) for _ in range(400))
    taken, refused = hold(tmp_path / "edx.csv", contents, check_table)
    assert taken + refused == 400 and refused > 40


def test_harmed_excel_files_are_read_or_refused(tmp_path: Path):
    from openpyxl import Workbook

    book, rng = Workbook(), np.random.default_rng(3)
    for line in TABLE.splitlines():
        book.worksheets[0].append(line.split(","))
    packed = io.BytesIO()
    book.save(packed)
    path = tmp_path / "edx.xlsx"
    path.write_bytes(packed.getvalue())
    check_table(path)
    contents = (mutate_archive(packed.getvalue(), rng) for _ in range(150))
    taken, refused = hold(path, contents, check_table)
    assert taken + refused == 150 and refused > 15

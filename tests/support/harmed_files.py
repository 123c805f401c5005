"""Files of every format, harmed at random, of which each is read or refused at once, and nothing else is touched."""

import contextlib
import io
import os
import resource
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition_table import read_composition_table
from glassmap.agent.data.scan_files import read_scans
from glassmap.agent.errors import GlassmapError
from tests.agent.data import test_brml, test_composition_table, test_gsas, test_nexus, test_powder_cif, test_xrdml
from tests.support import instrument_files as made

LONGEST = 2.0  # s
MEGABYTES = 500  # that reading may take at most
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


def mutate_in_place(content: bytes, rng: np.random.Generator) -> bytes:
    """Harm a binary file in one to four places, so that what follows stays where it is; now and then as a text."""
    if rng.random() < 0.3:
        return mutate(content, rng)
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data)))
        new = (data[at] ^ (1 << int(rng.integers(8))), *rng.integers(0, 256, 7).tolist())
        length = int(rng.choice([1, 1, 4, 8]))
        written = b"\xff" * 8 if rng.random() < 0.2 else bytes(new)
        data[at : at + length] = written[: len(data[at : at + length])]
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


def harmed(content: bytes, rng: np.random.Generator) -> bytes:
    """Harm a file as befits what it is."""
    if content.startswith(b"PK"):
        return mutate_archive(content, rng)
    return (mutate_in_place if b"\0" in content else mutate)(content, rng)


# --- what is harmed


ROWS = "".join(f"r001-{k:02d},{k},30,{70 - k},W1\n" for k in range(1, 15))
TABLE = f"sample,Co (at.%),V (at.%),Zr (at.%),wafer\n{ROWS}"


def _workbook() -> bytes:
    from openpyxl import Workbook

    book, packed = Workbook(), io.BytesIO()
    for line in TABLE.splitlines():
        book.worksheets[0].append(line.split(","))
    book.save(packed)
    return packed.getvalue()


def _hdf5(write: Callable[[Any], object], **options: Any) -> bytes:
    import h5py

    packed = io.BytesIO()
    with h5py.File(packed, "w", **options) as file:
        write(file)
    return packed.getvalue()


def _map(file: Any) -> None:
    """Write a map of six patterns that is packed, with links within the file and out of it."""
    import h5py

    data = test_nexus.group_of(test_nexus.group_of(file, "entry", "NXentry", default="map"), "map", "NXdata")
    data.attrs.update({"signal": "intensity", "axes": ["samy", "samx", "q"]})
    test_nexus.put(data, "samy", [0.0, 5.0], "mm")
    test_nexus.put(data, "samx", [-1000.0, 0.0, 1000.0], "um")
    test_nexus.put(data, "q_", test_nexus.Q, "1/angstrom")
    data["q"] = h5py.SoftLink("/entry/map/q_")
    data["pictures"] = h5py.ExternalLink("/etc/passwd", "/pictures")
    values = test_nexus.HALO * np.arange(1, 7).reshape(2, 3, 1)
    test_nexus.put(data, "intensity", values, "counts", chunks=True, compression="gzip")


def files() -> dict[str, bytes]:
    """Return small files of every format that is read, by names that say which."""
    angles = np.arange(20.0, 61.0)
    counts = np.round(100 + 900 * np.exp(-(((angles - 40) / 5) ** 2)))
    ranges = [{"start": 20.0, "step": 1.0, "counts": counts, "seconds": 2.0, "x": 1.0, "y": 2.0}]
    columns = [f"{x:.2f},{y:.0f},{np.sqrt(y):.2f}\n" for x, y in zip(angles, counts, strict=True)]
    beside = [f"{x:.2f}\t{y:.0f}\t{x:.2f}\t{2 * y:.0f}\n" for x, y in zip(angles, counts, strict=True)]
    texts = {
        "scan.xy": "".join(line.rpartition(",")[0].replace(",", " ") + "\n" for line in columns),
        "scan.csv": "# Wavelength: 1.5406\n2theta (deg),counts,esd\n" + "".join(columns),
        "map.txt": "P1\t\tP2\t\n2theta\tI\t2theta\tI\n" + "".join(beside),
        "scan.uxd": made.uxd(ranges),
        "sections.txt": made.raw_4_text(ranges),
        "scan.ras": made.ras(ranges * 2),
        "export.txt": made.rigaku_export(ranges),
        "scan.asc": made.asc(ranges),
        "scan.cif": f"data_W1\n{test_powder_cif.TWO_LINES}{test_powder_cif.listed()}",
        "standard.gsa": f"title\n{test_gsas.standard()}",
        "points.fxye": f"title\n{test_gsas.in_points('FXYE')}",
        "edx.csv": TABLE,
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "counts.xrdml": test_xrdml.document(test_xrdml.measurement(test_xrdml.scan())),
        "scan.brml": test_brml.archive(test_brml.raw_data(test_brml.route(), drives=test_brml.places(1, 2))),
        "version-1.raw": made.raw_1(ranges),
        "version-2.raw": made.raw_2(ranges),
        "version-3.raw": made.raw_3(ranges),
        "version-4.raw": made.raw_4(ranges),
        "scan.rasx": made.rasx(ranges),
        "scan.nxs": _hdf5(test_nexus.xrd_pan),
        "map.h5": _hdf5(_map),
        "latest.h5": _hdf5(_map, libver="latest"),
        "edx.xlsx": _workbook(),
        "edx.ods": test_composition_table.ods([line.split(",") for line in TABLE.splitlines()]),
    }


# --- what reading one may do


def check(path: Path) -> None:
    """Read a file, and hold that what is read is what an instrument can have measured."""
    if path.stem.startswith("edx"):
        table = read_composition_table(path)
        assert len(table.samples) == len(table.compositions)
        np.testing.assert_allclose(table.compositions.sum(axis=1), 1)
        assert (table.compositions >= 0).all()
        return
    scans = read_scans(path, axis="q" if path.suffix in (".nxs", ".h5") else "two_theta")
    assert scans and len({scan.name for scan in scans}) == len(scans)
    for scan in scans:
        assert scan.axis.shape == scan.intensity.shape
        assert np.isfinite(scan.axis).all() and np.isfinite(scan.intensity).all() and (np.diff(scan.axis) > 0).all()
        assert scan.wavelength is None or 0.05 <= scan.wavelength <= 5


def hold(path: Path, content: bytes, times: int, rng: np.random.Generator) -> Counter[str]:
    """Harm a file so many times and read each; returns how many were read and refused, and the longest time in ms."""
    found = Counter[str]()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(times):
        path.write_bytes(harmed(content, rng))
        start = time.monotonic()
        with watched(), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                check(path)
                found["read"] += 1
            except GlassmapError as error:
                found["refused"] += 1
                found["unforeseen"] += "can't be read as" in str(error)
                assert len(str(error)) < 2000
        seconds = time.monotonic() - start
        if seconds > LONGEST / 2:  # the machine may be busy: once more
            start = time.monotonic()
            with contextlib.suppress(GlassmapError):
                check(path)
            seconds = time.monotonic() - start
        assert seconds < LONGEST
        found["ms"] = max(found["ms"], round(seconds * 1000))
        others = {
            (event, what)
            for event, what in WATCHED
            if event != "exec" and not what.startswith((str(path), sys.prefix, sys.base_prefix)) and what != os.devnull
        }
        assert not others, "nothing but the file is touched"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MEGABYTES * 1024
    return found


def run(count: int) -> list[dict[str, object]]:
    """Read as many harmed files, spread over all formats; returns a record for each of them."""
    made, records = files(), list[dict[str, object]]()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in made.items():
            found = hold(Path(folder) / name, content, count // len(made), np.random.default_rng(2))
            kinds = ("read", "refused", "unforeseen")
            records.append({"file": name, **{kind: found[kind] for kind in kinds}, "longest_ms": found["ms"]})
    return records

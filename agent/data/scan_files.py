"""Scans as instruments write them: `.xrdml`, `.brml`, `.rasx`, and two columns of text. Nothing is guessed.

A file is read whole or refused with its reason, whatever is in it: sizes are looked at before anything is unpacked, XML
may declare no entities, numbers are counted. Attenuation is applied once.
"""

import warnings
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeXml

from glassmap.agent.errors import DatasetError, GlassmapError, SpectrumError
from glassmap.agent.shapes import AxisName, Scan, ScanAxis

TEXT_SUFFIXES = (".csv", ".xy", ".xye", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, ".xrdml", ".brml", ".rasx")
MAX_BYTES = 16_000_000  # of a file, and of each part of an archive; a scan of 100,000 points has 2 MB
MAX_POINTS = 200_000
WAVELENGTHS = (0.05, 5.0)  # Å, of diffractometers and beamlines


class RawScan(NamedTuple):
    """One scan as it was measured."""

    axis_name: AxisName
    axis: ScanAxis  # 2θ in degrees, q in 1/Å or r in Å; strictly increasing
    intensity: Scan  # counts or any other unit, attenuation applied
    wavelength: float | None  # Å, as the file says; None where it doesn't
    sample: str | None  # id or name of the sample, as the file says
    notes: tuple[str, ...] = ()  # what was done to it


class _Part(NamedTuple):
    """One of the scans of an `.xrdml` file."""

    axis: ScanAxis  # 2θ, degrees
    intensity: Scan  # counts, attenuation applied
    seconds: float | None  # at each point


def read_raw_scan(path: Path, *, axis: AxisName) -> RawScan:
    """Read one scan of any format that `SUFFIXES` lists.

    Args:
        path: The file.
        axis: What the first column of a file of text is; instrument files hold 2θ.

    Raises:
        DatasetError: If the file can't be read, is too large, was aborted or holds no scan over 2θ.
        SpectrumError: If the axis doesn't increase strictly, or a value isn't finite.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DatasetError(f"{path.name}: scans end in {', '.join(SUFFIXES)}, got {suffix!r}. Export it so.")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DatasetError(f"{path.name} has {size} bytes; a scan has {MAX_BYTES} at most. Is it one?")
        if suffix in TEXT_SUFFIXES:
            scan = RawScan(axis, *read_scan(path), None, None)
        else:
            scan = {".xrdml": _read_xrdml, ".brml": _read_brml, ".rasx": _read_rasx}[suffix](path)
    except GlassmapError:
        raise
    except OSError as error:
        raise DatasetError(f"{path.name} can't be read: {error}.") from error
    except Exception as error:  # of a parser that met what its writers never thought of
        what = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise DatasetError(
            f"{path.name} can't be read as {suffix}: {type(error).__name__} {what}. Export the scan again."
        ) from error
    _check(path, scan)
    return scan


def _check(path: Path, scan: RawScan) -> None:
    """Refuse what no instrument can have measured."""
    x, y = scan.axis, scan.intensity
    if x.shape != y.shape or x.ndim != 1 or not 2 <= x.size <= MAX_POINTS:
        raise DatasetError(
            f"{path.name}: a scan has 2 to {MAX_POINTS} points, as many positions as intensities; got {x.shape} and "
            f"{y.shape}. Export the scan again."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SpectrumError(f"{path.name} holds NaN or infinite values. Export the scan again.")
    if not (np.diff(x) > 0).all() or not 0 <= x[0] <= x[-1] < 180:
        raise SpectrumError(
            f"{path.name}: the axis must increase strictly within 0 to 180 (degrees, 1/Å or Å), got {x[0]:g} to "
            f"{x[-1]:g}. Sort the scan and drop repeats."
        )
    if scan.wavelength is not None and not WAVELENGTHS[0] <= scan.wavelength <= WAVELENGTHS[1]:
        raise DatasetError(
            f"{path.name}: a wavelength lies within {WAVELENGTHS[0]} to {WAVELENGTHS[1]} Å, got {scan.wavelength:g}."
        )


# --- two columns of text


def read_scan(path: Path | str) -> tuple[ScanAxis, Scan]:
    """Read axis and intensity of one two-column scan, each of shape `(p,)`.

    Raises:
        DatasetError: If it can't be read, holds no numbers, or a line below the header breaks off.
        SpectrumError: If the axis doesn't increase strictly, or a value isn't finite.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DatasetError(f"{path.name} can't be read: {error}.") from error
    values: list[tuple[float, float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = line.split(",") if "," in line else line.split()
        try:
            point = (read_number(cells[0]), read_number(cells[1]))
        except (ValueError, IndexError):
            if not values:  # still the header
                continue
            raise DatasetError(
                f"{path.name}, line {number}: two numbers are expected, separated by comma or blanks and with decimal "
                f"points, got {line.strip()[:40]!r}; correct the line or export the scan again."
            ) from None
        if values and not point[0] > values[-1][0]:
            raise SpectrumError(
                f"{path.name}, line {number}: the axis must increase strictly, but {point[0]:g} follows "
                f"{values[-1][0]:g}; sort the scan and drop repeats."
            )
        values.append(point)
    if len(values) < 2:
        raise DatasetError(
            f"{path.name} holds {len(values)} lines of two numbers, separated by comma or blanks and with decimal "
            "points; at least 2 are needed. Export the scan again, or move the file away if it is none."
        )
    axis, intensity = np.array(values).T.copy()
    return axis, intensity


def read_number(text: str) -> float:
    """Read a number as instruments write it; Python would also take `1_0` and the digits of other scripts.

    Raises:
        ValueError: If it is none.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is no number")
    return float(text)


# --- Malvern Panalytical .xrdml


def _read_xrdml(path: Path) -> RawScan:
    """Read a file of schema 1.x (intensities, attenuation applied) or 2.x (counts, and the factors to apply).

    Several scans of one range are summed, scans that follow on are joined.
    """
    root = _parse_xml(path.read_bytes())
    for element in root.iter():  # schemas differ in their namespace alone
        element.tag = element.tag.rpartition("}")[2]
    measurements = root.findall("xrdMeasurement")
    if len(measurements) != 1:
        raise DatasetError(f"{path.name} holds {len(measurements)} measurements; one is expected. Export each alone.")
    measurement = measurements[0]
    for element in (root, measurement, *measurement.findall("scan")):
        if (status := element.get("status", "Completed")) != "Completed":
            raise DatasetError(f"{path.name}: the scan's status is {status!r}, not Completed. Measure it again.")
    scans = [_read_xrdml_scan(path, scan) for scan in measurement.findall("scan")]
    if not scans:
        raise DatasetError(f"{path.name} holds no scan. Export it again.")
    axis, intensity, notes = _join(path, scans)
    wavelength, line = _xrdml_wavelength(measurement.find("usedWavelength"))
    sample = root.find("sample")
    name = None if sample is None else (sample.findtext("id") or sample.findtext("name") or "").strip()
    return RawScan("two_theta", axis, intensity, wavelength, name or None, (*notes, *line))


def _read_xrdml_scan(path: Path, scan: Element) -> _Part:
    """Read one scan of the file."""
    points = scan.find("dataPoints")
    values = None if points is None else points.find("intensities")
    counts = None if points is None else points.find("counts")
    if points is None or (values is None and counts is None):
        raise DatasetError(f"{path.name}: a scan holds neither intensities nor counts. Export it again.")
    intensity = _numbers(path, values if values is not None else counts)
    factors = points.find("beamAttenuationFactors")
    if values is None and factors is not None:
        attenuation = _numbers(path, factors)
        if attenuation.shape != intensity.shape:
            raise DatasetError(
                f"{path.name}: {attenuation.size} attenuation factors for {intensity.size} counts; each needs its own. "
                "Export the scan again."
            )
        intensity = intensity * attenuation
    positions = next((p for p in points.findall("positions") if p.get("axis") == "2Theta"), None)
    if positions is None or positions.get("unit", "deg") != "deg":
        raise DatasetError(f"{path.name}: a scan over 2Theta in degrees is expected; this one is over another axis.")
    listed = positions.find("listPositions")
    if listed is not None:
        axis = _numbers(path, listed)
    else:
        start, end = (_numbers(path, positions.find(name)) for name in ("startPosition", "endPosition"))
        axis = np.linspace(float(start.item()), float(end.item()), len(intensity))
    time = points.find("commonCountingTime")
    return _Part(axis, intensity, None if time is None else _numbers(path, time).item())


def _join(path: Path, parts: Sequence[_Part]) -> tuple[ScanAxis, Scan, tuple[str, ...]]:
    """Sum repeats of one range, or join parts that follow on in one."""
    if len(parts) == 1:
        return parts[0].axis, parts[0].intensity, ()
    if all(np.array_equal(part.axis, parts[0].axis) for part in parts):
        note = f"{len(parts)} scans of one range were summed."
        return parts[0].axis, np.sum([part.intensity for part in parts], axis=0), (note,)
    if all(after.axis[0] > before.axis[-1] for before, after in pairwise(parts)):
        times = [part.seconds for part in parts]
        per_second = len(set(times)) > 1 and None not in times
        intensities = [part.intensity / (part.seconds or 1 if per_second else 1) for part in parts]
        note = f"{len(parts)} scans that follow on were joined" + ", in counts per second." * per_second
        return np.concatenate([part.axis for part in parts]), np.concatenate(intensities), (note,)
    raise DatasetError(
        f"{path.name} holds {len(parts)} scans that are neither of one range nor follow on. Export the one meant."
    )


def _xrdml_wavelength(used: Element | None) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength that the file says was used, in Å, and which line that is."""
    if used is None:
        return None, ()
    lines = {name: float(used.findtext(name) or "nan") for name in ("kAlpha1", "kAlpha2", "kBeta")}
    ratio = float(used.findtext("ratioKAlpha2KAlpha1") or "nan")
    return _mean_line(used.get("intended", ""), lines, ratio)


def _mean_line(intended: str, lines: dict[str, float], ratio: float) -> tuple[float | None, tuple[str, ...]]:
    """Return the line that is meant; both Kα weighted by their ratio where both are."""
    alpha = (lines["kAlpha1"] + ratio * lines["kAlpha2"]) / (1 + ratio)
    known = {"K-Alpha 1": ("Kα1", lines["kAlpha1"]), "K-Beta": ("Kβ", lines["kBeta"]), "K-Alpha": ("mean of Kα", alpha)}
    name, wavelength = known.get(intended, ("", float("nan")))
    return (wavelength, (f"Wavelength {wavelength:.5f} Å, {name}.",)) if np.isfinite(wavelength) else (None, ())


def _numbers(path: Path, element: Element | None) -> Scan:
    """Return all numbers of an element; one that is no number is refused, not the end of them."""
    words = (element.text or "").split() if element is not None else []
    if not words:
        raise DatasetError(f"{path.name}: positions or intensities are missing. Export the scan again.")
    try:
        return np.array([read_number(word) for word in words])
    except ValueError as error:
        raise DatasetError(f"{path.name}: {error}. Export the scan again.") from error


def _parse_xml(content: bytes) -> Element:
    try:
        return SafeXml.fromstring(content, forbid_dtd=True)
    except ParseError as error:
        raise DatasetError(f"It is no whole XML: {error}. Wait until it is written, or export it again.") from error
    except DefusedXmlException as error:
        raise DatasetError("Its XML declares entities or a document type, which no instrument does.") from error


# --- Bruker .brml and Rigaku .rasx: archives of XML, read by fairmat-readers-xrd


def _read_brml(path: Path) -> RawScan:
    parts = _open_archive(path, "RawData", ".xml")
    raw = [name for name in parts if name.rpartition("/")[2].startswith("RawData")]
    if len(raw) != 1:
        raise DatasetError(f"{path.name} holds {len(raw)} scans; one is expected. Export the one that is meant.")
    tree = _parse_xml(parts[raw[0]])
    if (status := tree.findtext("MeasurementStatus", "Measured")) != "Measured":
        raise DatasetError(f"{path.name}: the scan's status is {status!r}, not Measured. Measure it again.")
    data, promised = len(list(tree.iter("Datum"))), tree.findtext(".//MeasurementPoints", "0")
    if not 1 < data <= MAX_POINTS or str(data) != promised.strip():
        raise DatasetError(f"{path.name} holds {data} points where {promised} were to be measured. Measure it again.")
    return _read_archive(path, "brml")


def _read_rasx(path: Path) -> RawScan:
    parts = _open_archive(path, "Data", ".txt", ".xml")
    profiles = [name for name in parts if "Profile" in name]
    if len(profiles) != 1 or any("Image" in name for name in parts):
        raise DatasetError(f"{path.name} holds {len(profiles)} profiles; one is expected, without images.")
    profile = parts[profiles[0]]
    if not profile.startswith(b"\xef\xbb\xbf"):  # the reader skips these three bytes unseen
        raise DatasetError(f"{path.name}: its profile lacks the mark that it is UTF-8. Export the scan again.")
    for name, content in parts.items():
        if name.endswith(".xml"):
            _parse_xml(content)
    scan = _read_archive(path, "rasx")
    lines = [line.split() for line in profile.decode("utf-8-sig").splitlines() if line.strip()]
    attenuation = np.array([line[2] for line in lines], dtype=np.float64)  # which the reader leaves aside
    return scan._replace(intensity=scan.intensity * attenuation)


def _open_archive(path: Path, start: str, *suffixes: str) -> dict[str, bytes]:
    """Unpack the parts of an archive whose folder or name begins with `start`, after a look at the sizes."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_archive(path, members)
            wanted = [
                member
                for member in members
                if member.filename.endswith(suffixes) and any(p.startswith(start) for p in member.filename.split("/"))
            ]
            return {member.filename: archive.read(member) for member in wanted}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise DatasetError(
            f"{path.name} is no whole archive: {error}. Wait until it is written, or export it again."
        ) from error


def check_archive(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would unpack to far more than any instrument writes.

    Raises:
        DatasetError: If a part, all parts or their number are too large.
    """
    total, largest = sum(member.file_size for member in members), max((m.file_size for m in members), default=0)
    if len(members) > 1000 or total > 4 * MAX_BYTES or largest > MAX_BYTES:
        raise DatasetError(
            f"{path.name} unpacks to {len(members)} parts and {total} bytes, the largest {largest}; at most 1000, "
            f"{4 * MAX_BYTES} and {MAX_BYTES} are read. Is it a scan or a table?"
        )


def _read_archive(path: Path, kind: str) -> RawScan:
    # takes a second, and campaigns may not need it
    from fairmat_readers_xrd import (  # pyright: ignore[reportMissingTypeStubs]
        read_bruker_brml,  # pyright: ignore[reportUnknownVariableType]
        read_rigaku_rasx,  # pyright: ignore[reportUnknownVariableType]
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a number that can't be read is only warned of
        read: dict[str, Any] = {"brml": read_bruker_brml, "rasx": read_rigaku_rasx}[kind](str(path))
    if read["metadata"]["scan_type"] != "line" or read["2Theta"] is None:
        raise DatasetError(f"{path.name}: one scan over 2θ is expected, this is a {read['metadata']['scan_type']}.")
    source: dict[str, Any] = read["metadata"]["source"]
    lines = {name: _in(source[name], "angstrom") for name in ("kAlpha1", "kAlpha2", "kBeta")}
    ratio = _in(source["ratioKAlpha2KAlpha1"], "dimensionless")
    wavelength, note = _mean_line("K-Alpha" if ratio > 0 else "K-Alpha 1", lines, ratio)
    axis = np.asarray(read["2Theta"].to("degree").magnitude, dtype=np.float64)
    intensity = np.asarray(read["intensity"].magnitude, dtype=np.float64)
    return RawScan("two_theta", axis, intensity, wavelength, None, note)


def _in(quantity: Any, unit: str) -> float:
    """Return a quantity of the reader in a unit; NaN where the file doesn't say it."""
    return float(quantity.to(unit).magnitude) if hasattr(quantity, "to") else float("nan")

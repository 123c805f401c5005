"""Files of scans, as instruments and reduction programs write them: read rightly, or refused with the reason.

What a file is shows in its content. It is read whole, every scan in it with its place; sizes are looked at before
anything is unpacked, no other file is opened, and no unit is guessed. docs/formats.md lists what is taken from each.
"""

from pathlib import Path

import numpy as np

from glassmap.agent.data.formats import (
    brml,
    bruker,
    bruker_text,
    gsas,
    nexus,
    powder_cif,
    rigaku,
    rigaku_text,
    text,
    xrdml,
)
from glassmap.agent.data.formats.parts import Format, Part, as_scans, combine
from glassmap.agent.data.raw_scan import MAX_BYTES, MAX_POINTS, WAVELENGTHS, RawScan
from glassmap.agent.errors import DatasetError, GlassmapError, SpectrumError
from glassmap.agent.shapes import AxisName, Scan, ScanAxis

FORMATS: tuple[Format, ...] = (
    *xrdml.FORMATS,
    *brml.FORMATS,
    *bruker.FORMATS,
    *bruker_text.FORMATS,
    *rigaku.FORMATS,
    *rigaku_text.FORMATS,
    *nexus.FORMATS,
    *powder_cif.FORMATS,
    *gsas.FORMATS,
    *text.FORMATS,
)  # the first that fits
SUFFIXES = tuple(dict.fromkeys(suffix for one in FORMATS for suffix in one.suffixes))
SAME_WAVELENGTH = 2e-3  # relative; Kα1 and the mean of Kα are 0.8e-3 apart
HIGHEST: dict[AxisName, tuple[float, str]] = {  # that an axis reaches, and what may be meant by more
    "q": (30, "1/Å; is it 2θ? Say `--axis two_theta --wavelength 1.5406`, or in a laboratory's campaign file columns"),
    "two_theta": (180, "degrees; is it another axis? Say `--axis q`, or in a laboratory's campaign file columns"),
    "r": (1000, "Å; is it another axis? Say `--axis q` or `--axis two_theta`"),
}


def read_scans(path: Path | str, *, axis: AxisName | None = None, wavelength: float | None = None) -> list[RawScan]:
    """Read every scan of a file of any format that `SUFFIXES` lists.

    Repeats of one range are summed where nothing else differs, and parts that follow on are joined; scans of other
    places or samples are scans of their own.

    Args:
        path: The file.
        axis: What files of text are over that don't say it; one that says something else is refused.
        wavelength: In Å, of files that don't say it; one that says something else is refused.

    Raises:
        DatasetError: If the file can't be read, is too large, was aborted, holds no scan, or doesn't say what its
            columns are.
        SpectrumError: If an axis doesn't increase strictly, or a value isn't finite.
    """
    path = Path(path)
    return _as_scans(path, *_read(path), axis=axis, wavelength=wavelength)


def _as_scans(
    path: Path, kind: Format, parts: list[Part], *, axis: AxisName | None, wavelength: float | None
) -> list[RawScan]:
    """Return the parts of a file as its scans, checked; raises as `read_scans` does."""
    try:
        for part in parts:
            _check_shape(part.axis, part.intensity)
        with np.errstate(all="ignore"):
            parts = combine(parts)
        if kind.is_of_columns:
            for part in parts:
                _check_axis(part, axis)
        scans = [_with_wavelength(scan, wavelength) for scan in as_scans(parts, axis or "two_theta")]
        for scan in scans:
            _check(scan)
    except GlassmapError as error:
        raise type(error)(f"{path.name}: {error}") from error
    return scans


def read_raw_scan(path: Path | str, *, axis: AxisName | None = None, wavelength: float | None = None) -> RawScan:
    """Read the scan of a file that holds one, as `read_scans` does.

    Raises:
        DatasetError: As `read_scans`, and if the file holds several scans.
        SpectrumError: As `read_scans`.
    """
    return _only(Path(path), read_scans(path, axis=axis, wavelength=wavelength))


def _only(path: Path, scans: list[RawScan]) -> RawScan:
    """Return the scan of a file that holds one.

    Raises:
        DatasetError: If it holds several.
    """
    if len(scans) > 1:
        names = ", ".join(scan.name for scan in scans[:5]) + ", …" * (len(scans) > 5)
        raise DatasetError(
            f"{path.name} holds {len(scans)} scans ({names}); one is expected. Export the one that is meant."
        )
    return scans[0]


def read_scan(path: Path | str) -> tuple[ScanAxis, Scan]:
    """Read axis and intensity, each of shape `(p,)`, of a file that holds one scan; over what, its caller knows.

    Raises:
        DatasetError: As `read_raw_scan`.
        SpectrumError: As `read_raw_scan`.
    """
    path = Path(path)
    kind, parts = _read(path)
    said: list[AxisName] = [part.axis_name for part in parts if part.axis_name is not None]
    scan = _only(path, _as_scans(path, kind, parts, axis=said[0] if said else "two_theta", wavelength=None))
    return scan.axis, scan.intensity


def _read(path: Path) -> tuple[Format, list[Part]]:
    """Return the format of a file, and its parts as they stand there."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DatasetError(f"{path.name}: scans end in {', '.join(SUFFIXES)}, got {suffix!r}. Export it so.")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DatasetError(f"It has {size} bytes; a file of scans has {MAX_BYTES} at most. Is it one?")
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path.name} can't be read: {error}.") from error
    except GlassmapError as error:
        raise type(error)(f"{path.name}: {error}") from error
    kind = next((one for one in FORMATS if suffix in one.suffixes and one.is_one(content, suffix)), None)
    if kind is None:
        known = ", ".join(one.name for one in FORMATS if suffix in one.suffixes)
        raise DatasetError(
            f"{path.name} begins like no {known} file. Wait until it is written whole, or export the scan again."
        )
    try:
        with np.errstate(all="ignore"):  # what overflows is refused as infinite
            parts = kind.read(content, suffix)
    except GlassmapError as error:
        raise type(error)(f"{path.name}: {error}") from error
    except Exception as error:  # of a parser that met what its writers never thought of
        what = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise DatasetError(
            f"{path.name} can't be read as {kind.name}: {type(error).__name__} {what}. Export the scan again."
        ) from error
    if not parts:
        raise DatasetError(f"{path.name} holds no scan. Export it again.")
    return kind, parts


def _check_axis(part: Part, axis: AxisName | None) -> None:
    """Refuse a text that doesn't say what it is over where nobody does, or that says otherwise.

    Raises:
        DatasetError: If so.
    """
    if part.axis_name is None and axis is None:
        raise DatasetError(
            "Its header doesn't say what the first column is; units are never guessed. Say `--axis q`, `--axis r` or "
            "`--axis two_theta --wavelength 1.5406`."
        )
    if part.axis_name is not None and axis is not None and part.axis_name != axis:
        raise DatasetError(
            f"Its header says {part.axis_name}, and {axis} was asked for (`--axis`, or columns in the campaign file). "
            "Correct the one that is wrong."
        )


def _with_wavelength(scan: RawScan, wavelength: float | None) -> RawScan:
    """Return a scan with its wavelength, or the one that was asked for where the file says none.

    Raises:
        DatasetError: If both are there and differ.
    """
    if scan.wavelength is None or wavelength is None:
        return scan._replace(wavelength=scan.wavelength or wavelength)
    if abs(scan.wavelength / wavelength - 1) > SAME_WAVELENGTH:
        raise DatasetError(
            f"The file says a wavelength of {scan.wavelength:g} Å, and {wavelength:g} Å was asked for (`--wavelength`, "
            "or backend.wavelength in the campaign file). Correct the one that is wrong."
        )
    return scan


def _check_shape(x: ScanAxis, y: Scan) -> None:
    """Refuse what isn't as many positions as intensities."""
    if x.shape != y.shape or x.ndim != 1 or not 2 <= x.size <= MAX_POINTS:
        raise DatasetError(
            f"A scan has 2 to {MAX_POINTS} points, as many positions as intensities; got {x.shape} and {y.shape}. "
            "Export the scan again."
        )


def _check(scan: RawScan) -> None:
    """Refuse what no instrument can have measured."""
    x, y = scan.axis, scan.intensity
    _check_shape(x, y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SpectrumError("It holds NaN or infinite values. Export the scan again.")
    if not (np.diff(x) > 0).all() or x[0] < 0:
        raise SpectrumError(
            f"The axis must increase strictly from 0 or more, got {x[0]:g} to {x[-1]:g}. Sort the scan and drop "
            "repeats."
        )
    highest, remedy = HIGHEST[scan.axis_name]
    if x[-1] > highest:
        raise SpectrumError(f"The axis ends at {x[-1]:g}; {scan.axis_name} ends at {highest:g} {remedy}.")
    if scan.wavelength is not None and not WAVELENGTHS[0] <= scan.wavelength <= WAVELENGTHS[1]:
        raise DatasetError(f"A wavelength lies within {WAVELENGTHS[0]} to {WAVELENGTHS[1]} Å, got {scan.wavelength:g}.")

"""Binary `.raw` of Siemens's and Bruker's older programs, versions 1 to 4.

Where each figure stands follows the public descriptions of xylib (DIFFRAC-AT, appendix B; DIFFRAC plus
XCH, appendix A) and GSAS-II. Files of version 3 begin with `RAW1.01`, those of version 4 with `RAW4.00`. All hold
counts for a time at each step; no description of them knows factors of an attenuator.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from glassmap.agent.data.formats.lines import decode
from glassmap.agent.data.formats.markup import incidence, name_anode, name_line
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import K_ALPHA_RATIO, MAX_POINTS
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Scan, ScanAxis

SMALLEST = 1e-6  # degrees, of an angle or a step that isn't 0, and counts: below it, something else is read as a number
MOST = 1e12  # counts
UNMEASURED = -9999.0  # counts
SAME_START = 0.05  # degrees, by which two figures of where a scan begins may differ
SAME_LINE = 2e-3  # relative, by which the wavelength of a range may differ from the lines of the tube
OTHER_SCANS = {  # of version 3, that aren't over 2θ
    3: "a rocking curve over Theta",
    4: "a scan over Chi",
    5: "a scan over Phi",
    6: "a scan over X",
    7: "a scan over Y",
    8: "a scan over Z",
    9: "a scan over an auxiliary drive",
    10: "a scan over an auxiliary drive",
    11: "a scan over an auxiliary drive",
    12: "a scan over Psi",
    13: "a scan over hkl",
}
STATUS = {2: "still running", 3: "aborted", 4: "interrupted"}  # of version 3
COUPLED = ("lockedcoupled", "unlockedcoupled", "unlockedcoupledhrxrd", "coupled")  # Theta moves along with 2θ
ALONE = ("detectorscan", "2theta", "twotheta", "psdfixedscan", "psdfixscan", "psdfastscan", "psdfixed", "psdfast")
UNKNOWN_ANGLE = -1e6  # of version 1


def _layout(length: int, **fields: tuple[int, str]) -> np.dtype[np.void]:
    """Return a header of so many bytes, of which each field stands at an offset."""
    return np.dtype(
        {
            "names": list(fields),
            "offsets": [at for at, _ in fields.values()],
            "formats": [kind for _, kind in fields.values()],
            "itemsize": length,
        }
    )


RANGE_1 = _layout(
    152,
    points=(0, "<u4"),
    seconds=(4, "<f4"),
    step=(8, "<f4"),
    mode=(12, "<u4"),
    two_theta=(20, "<f4"),
    theta=(24, "<f4"),
    chi=(28, "<f4"),
    phi=(32, "<f4"),
    sample=(36, "S32"),
    alpha1=(68, "<f4"),
    alpha2=(72, "<f4"),
    following=(148, "<u4"),
)  # behind the letters `RAW `
FILE_2 = _layout(
    256,
    ranges=(4, "<u2"),
    sample=(8, "S32"),
    anode=(188, "S2"),
    alpha1=(190, "<f4"),
    alpha2=(194, "<f4"),
    ratio=(198, "<f4"),
)
RANGE_2 = _layout(
    48,
    size=(0, "<u2"),
    points=(2, "<u2"),
    seconds=(8, "<f4"),
    step=(12, "<f4"),
    two_theta=(16, "<f4"),
    drives=(20, "V26"),
    kelvin=(46, "<u2"),
)
FILE_3 = _layout(
    712,
    status=(8, "<u4"),
    ranges=(12, "<u4"),
    sample=(326, "S60"),
    anode=(608, "S4"),
    alpha1=(624, "<f8"),
    alpha2=(632, "<f8"),
    beta=(640, "<f8"),
    ratio=(648, "<f8"),
    unit=(656, "S4"),
)
RANGE_3 = _layout(
    304,
    size=(0, "<u4"),
    points=(4, "<u4"),
    theta=(8, "<f8"),
    two_theta=(16, "<f8"),
    chi=(24, "<f8"),
    phi=(32, "<f8"),
    x=(40, "<f8"),
    y=(48, "<f8"),
    z=(56, "<f8"),
    auxiliary=(144, "<3f8"),
    step=(176, "<f8"),
    seconds=(192, "<f4"),
    scan=(196, "<u4"),
    turns=(208, "<f4"),
    kelvin=(212, "<f4"),
    tension=(224, "<u4"),
    current=(228, "<u4"),
    wavelength=(240, "<f8"),
    varying=(248, "<u4"),
    record=(252, "<u4"),
    extra=(256, "<u4"),
)
SEGMENT_4 = _layout(8, kind=(0, "<u4"), size=(4, "<u4"))
TEXT_4 = _layout(36, name=(12, "S24"))
TUBE_4 = _layout(120, alpha1=(80, "<f8"), alpha2=(88, "<f8"), beta=(96, "<f8"), ratio=(104, "<f8"), anode=(116, "S4"))
DRIVE_4 = _layout(64, moved=(8, "<u4"), name=(12, "S24"), position=(56, "<f8"))
RANGE_4 = _layout(
    160,
    scan=(32, "S24"),
    start=(72, "<f8"),
    step=(80, "<f8"),
    points=(88, "<u4"),
    seconds=(92, "<f4"),
    tension=(100, "<f4"),
    current=(104, "<f4"),
    wavelength=(112, "<f8"),
    record=(136, "<u4"),
    drives=(140, "<u4"),
)
FIRST_SEGMENT_4 = 61  # bytes into the file


def _is_raw(content: bytes, suffix: str) -> bool:
    return content.startswith((b"RAW ", b"RAW2", b"RAW1.01", b"RAW4.00"))


def _read_raw(content: bytes, suffix: str) -> list[Part]:
    """Read every range of a binary file."""
    if content.startswith(b"RAW "):
        parts = list(_ranges_1(content))
    elif content.startswith(b"RAW2"):
        parts = list(_ranges_2(content))
    elif content.startswith(b"RAW1"):
        parts = list(_ranges_3(content))
    else:
        parts = list(_ranges_4(content))
    return without_stage(parts)


def _ranges_1(content: bytes) -> Iterator[Part]:
    at, follows, place = 0, True, 0
    while follows:
        place += 1
        if content[at : at + 4] == b"RAW ":  # early programs don't repeat it
            at += 4
        head = _header(content, at, RANGE_1)
        axis = even_axis(_decimal(head["two_theta"]), _decimal(head["step"]), int(head["points"]), place)
        counts, at = _counts(content, at + RANGE_1.itemsize, axis.size, 4, place)
        alpha1, alpha2 = _decimal(head["alpha1"]), _decimal(head["alpha2"])
        wavelength, notes = tube_wavelength({"kAlpha1": alpha1, "kAlpha2": alpha2}, K_ALPHA_RATIO, "")
        angles = {name: _decimal(head[name]) for name in ("theta", "chi", "phi")}
        angles = {name: angle for name, angle in angles.items() if angle != UNKNOWN_ANGLE}
        settings = {"scan mode": str(head["mode"])} | tilts(axis, angles, coupled=True)
        part = Part(axis, counts, wavelength=wavelength, sample=_text(head["sample"]), seconds=_time(head))
        yield part._replace(settings=settings, notes=notes)
        follows = head["following"] > 0
    _check_end(content, at)


def _ranges_2(content: bytes) -> Iterator[Part]:
    file = _header(content, 0, FILE_2)
    lines = {"kAlpha1": _decimal(file["alpha1"]), "kAlpha2": _decimal(file["alpha2"])}
    wavelength, notes = tube_wavelength(lines, _decimal(file["ratio"]), _text(file["anode"]) or "")
    at, drives = FILE_2.itemsize, dict[tuple[float, ...], bytes]()
    for place in range(1, int(file["ranges"]) + 1):
        head = _header(content, at, RANGE_2)
        if head["size"] < RANGE_2.itemsize:
            raise DatasetError(f"The header of range {place} has {head['size']} bytes, fewer than its version has.")
        axis = even_axis(_decimal(head["two_theta"]), _decimal(head["step"]), int(head["points"]), place)
        counts, at = _counts(content, at + int(head["size"]), axis.size, 4, place)
        if drives.setdefault((*axis[[0, -1]], axis.size), bytes(head["drives"])) != bytes(head["drives"]):
            raise DatasetError(
                f"Range {place} is over the 2θ of one before, and other drives stood elsewhere; which, no description "
                "of version 2 says. Export it as .uxd, or as .raw of version 3."
            )
        settings: dict[str, float | str] = {"temperature (K)": float(head["kelvin"])} if head["kelvin"] else {}
        part = Part(axis, counts, wavelength=wavelength, sample=_text(file["sample"]), seconds=_time(head))
        yield part._replace(settings=settings, notes=notes)
    _check_end(content, at)


def _ranges_3(content: bytes) -> Iterator[Part]:
    file = _header(content, 0, FILE_3)
    if (status := STATUS.get(int(file["status"]))) is not None:
        raise DatasetError(f"Its measurement was {status} when it was written. Measure it again, or wait for its end.")
    if (unit := _text(file["unit"])) and unit.lower()[0] not in "aå":
        raise DatasetError(f"Its wavelengths are in {unit!r}; Å is expected. Export the scan again.")
    at = FILE_3.itemsize
    for place in range(1, int(file["ranges"]) + 1):
        head = _header(content, at, RANGE_3)
        if head["size"] < RANGE_3.itemsize:
            raise DatasetError(f"The header of range {place} has {head['size']} bytes, fewer than its version has.")
        if (other := OTHER_SCANS.get(int(head["scan"]))) is not None:
            raise DatasetError(f"Range {place} is {other}, no scan over 2θ. Measure one over 2θ.")
        record, varying = int(head["record"]) or 4, int(head["varying"])
        if record != 4 + 8 * varying.bit_count():
            raise DatasetError(
                f"Each point of range {place} has {record} bytes, and should have {4 + 8 * varying.bit_count()} by "
                "what was recorded with it. Export the scan again."
            )
        axis = even_axis(float(head["two_theta"]), float(head["step"]), int(head["points"]), place)
        first = at + int(head["size"]) + int(head["extra"])
        counts, at = _counts(content, first, axis.size, record, place)
        if varying & 1:  # where 2θ was at each point
            axis = np.ndarray(axis.shape, "<f8", content, first + 4, (record,)).astype(np.float64)
            _check_angles(axis, place)
        lines = {"kAlpha1": float(file["alpha1"]), "kAlpha2": float(file["alpha2"]), "kBeta": float(file["beta"])}
        wavelength, notes = tube_wavelength(
            lines, float(file["ratio"]), _text(file["anode"]) or "", float(head["wavelength"])
        )
        angles = {name: float(head[name]) for name in ("theta", "chi", "phi")}
        if head["turns"] > 0:
            del angles["phi"]  # the sample turned all the time
        settings = tilts(axis, angles, coupled=int(head["scan"]) in (0, 1)) | {"Z (mm)": float(head["z"])}
        settings |= {f"auxiliary drive {k}": float(at) for k, at in enumerate(head["auxiliary"], start=1)}
        settings |= _tube(float(head["tension"]), float(head["current"]))
        if 0 < head["kelvin"] < MOST:
            settings["temperature (K)"] = float(head["kelvin"])
        part = Part(axis, counts, wavelength=wavelength, sample=_text(file["sample"]), seconds=_time(head))
        yield part._replace(x=float(head["x"]), y=float(head["y"]), settings=settings, notes=notes)
    _check_end(content, at)


def _ranges_4(content: bytes) -> Iterator[Part]:
    """Read what is a chain of segments, each with its kind and size, among them the ranges.

    A time at each step is in the file, and not in which unit; it is taken as seconds, and weighs ranges alone.
    """
    sample, lines, ratio, anode = None, dict[str, float](), K_ALPHA_RATIO, ""
    at, place = FIRST_SEGMENT_4, 0
    end = len(content.rstrip(b"\0"))
    while at < end:
        kind = int(_header(content, at, np.dtype([("kind", "<u4")]))["kind"])
        if kind in (0, 160):
            place += 1
            part, at = _range_4(content, at, place)
            wavelength, notes = tube_wavelength(lines, ratio, anode, part.wavelength or 0.0)
            yield part._replace(wavelength=wavelength, sample=sample, notes=notes)
            continue
        size = _size_of_segment(content, at, len(content))
        if kind == 10 and size >= TEXT_4.itemsize:
            name = _text(_header(content, at, TEXT_4)["name"])
            if (name or "").upper() == "SAMPLEID":
                sample = _text(content[at + TEXT_4.itemsize : at + size]) or sample
        elif kind == 30 and size >= TUBE_4.itemsize:
            tube = _header(content, at, TUBE_4)
            lines = {"kAlpha1": float(tube["alpha1"]), "kAlpha2": float(tube["alpha2"]), "kBeta": float(tube["beta"])}
            ratio, anode = float(tube["ratio"]), _text(tube["anode"]) or ""
        at += size
    if not place:
        raise DatasetError("It holds no range. Wait until it is written whole, or export the scan again.")


def _range_4(content: bytes, at: int, place: int) -> tuple[Part, int]:
    """Return a range, and where what follows it begins."""
    head = _header(content, at, RANGE_4)
    at += RANGE_4.itemsize
    end, drives, moved = at + int(head["drives"]), dict[str, float](), list[str]()
    if end > len(content):
        raise DatasetError(f"It ends within the drives of range {place}; it is cut off. Copy it again.")
    while at < end:
        size = _size_of_segment(content, at, end)
        if size >= DRIVE_4.itemsize and int(_header(content, at, SEGMENT_4)["kind"]) == 50:
            drive = _header(content, at, DRIVE_4)
            name, position = _text(drive["name"]) or "", float(drive["position"])
            drives[name] = position
            if drive["moved"] and abs(position - float(head["start"])) <= SAME_START:
                moved.append(name)
        at += size
    scan = _text(head["scan"]) or "a scan without a name"
    over_two_theta = any(plain_drive(name) in ("2theta", "twotheta") for name in moved)
    if not over_two_theta and (moved or plain_drive(scan) not in (*COUPLED, *ALONE)):
        over = f" over {' and '.join(moved)}" if moved else ""
        raise DatasetError(f"Range {place} is {scan}{over}, no scan over 2θ. Measure one over 2θ.")
    record = int(head["record"])
    if record < 4 or record % 4:
        raise DatasetError(f"Each point of range {place} has {record} bytes; a count has 4. Export the scan again.")
    axis = even_axis(float(head["start"]), float(head["step"]), int(head["points"]), place)
    counts, at = _counts(content, at, axis.size, record, place)
    known = {plain_drive(name): name for name in drives}
    angles = {
        name: drives.pop(known[plain])
        for name, plains in {"theta": ("theta", "omega"), "chi": ("chi", "khi"), "phi": ("phi",)}.items()
        for plain in plains
        if plain in known
    }
    stage = {
        name: drives.pop(known[plain])
        for name in ("x", "y", "z")
        for plain in (name, f"{name}drive")
        if plain in known and known[plain] in drives
    }
    for name in ("2theta", "twotheta"):
        drives.pop(known.get(name, ""), None)
    settings: dict[str, float | str] = {"scan type": scan, **tilts(axis, angles, coupled=plain_drive(scan) in COUPLED)}
    settings |= {"Z (mm)": stage["z"]} if "z" in stage else {}
    settings |= _tube(float(head["tension"]), float(head["current"])) | drives
    part = Part(axis, counts, wavelength=float(head["wavelength"]), x=stage.get("x"), y=stage.get("y"))
    return part._replace(seconds=_time(head), settings=settings), at


def _size_of_segment(content: bytes, at: int, end: int) -> int:
    size = int(_header(content, at, SEGMENT_4)["size"])
    if not SEGMENT_4.itemsize <= size <= end - at:
        raise DatasetError(f"A part at byte {at} says that it has {size} bytes, {end - at} are left; it is cut off.")
    return size


def _header(content: bytes, at: int, layout: np.dtype[np.void]) -> np.void:
    """Return the header that stands at a byte.

    Raises:
        DatasetError: If the file ends before it does.
    """
    if at + layout.itemsize > len(content):
        raise DatasetError(
            f"It ends at byte {len(content)}, within a header; it is cut off. Copy it again, or export the scan again."
        )
    return np.frombuffer(content, layout, 1, at)[0]


def even_axis(start: float, step: float, points: int, place: int) -> ScanAxis:
    """Return 2θ at each point, in degrees, of a range that is called by its place in the file.

    Raises:
        DatasetError: If no goniometer can have been there.
    """
    if not 2 <= points <= MAX_POINTS:
        raise DatasetError(f"Range {place} has {points} points; 2 to {MAX_POINTS} are read. Export the scan again.")
    if not SMALLEST <= step <= 180:
        raise DatasetError(f"2θ of range {place} goes by steps of {step:g}°, which can't be. Export the scan again.")
    axis = start + step * np.arange(points)
    _check_angles(axis, place)
    return axis


def _check_angles(axis: ScanAxis, place: int) -> None:
    if not (np.isfinite(axis).all() and axis[0] >= 0 and axis[-1] <= 180) or 0 < axis[0] < SMALLEST:
        raise DatasetError(
            f"2θ of range {place} goes from {axis[0]:g}° to {axis[-1]:g}°; from 0° to 180° is expected. Export the "
            "scan again."
        )


def _counts(content: bytes, at: int, points: int, record: int, place: int) -> tuple[Scan, int]:
    """Return what was counted at each point, the first number of its record, and where the records end.

    Raises:
        DatasetError: If the file ends before they do, or they can't be counts.
    """
    end = at + points * record
    if end > len(content):
        raise DatasetError(
            f"Range {place} has {points} points of {record} bytes, and the file ends after "
            f"{max(0, (len(content) - at) // record)}; it is cut off. Copy it again, or export the scan again."
        )
    counts = np.ndarray((points,), "<f4", content, at, (record,)).astype(np.float64)
    check_counts(counts, place)
    return counts, end


def check_counts(counts: Scan, place: int) -> None:
    """Refuse what no detector counts, of a range that is called by its place in the file.

    Raises:
        DatasetError: If a point wasn't measured, for which the programs write -9999, or can't have been counted.
    """
    if missing := int((counts == UNMEASURED).sum()):
        raise DatasetError(
            f"{missing} of the {counts.size} points of range {place} weren't measured. Wait until it is, or measure it "
            "again."
        )
    believable = (counts == 0) | ((counts >= SMALLEST) & (counts <= MOST))
    if not believable.all():
        worst = counts[~believable][0]
        raise DatasetError(f"Range {place} holds {worst:g} as its counts, which can't be. Export the scan again.")


def _check_end(content: bytes, at: int) -> None:
    if rest := content[at:].strip(b"\0"):
        raise DatasetError(f"{len(rest)} bytes follow its last range, which is none of its version. Export it again.")


def _decimal(value: np.floating) -> float:
    """Return a number in single precision as the decimal that was meant; 0.02 isn't 0.019999999552965164."""
    return float(str(value))


def _time(head: np.void) -> float | None:
    seconds = _decimal(head["seconds"])
    return seconds if 0 < seconds < MOST else None


def _text(field: bytes) -> str | None:
    """Return what a field of letters says, up to the first that is none."""
    said = decode(bytes(field).split(b"\0")[0].split(b"\n")[0]).strip()
    return said or None


def plain_drive(name: str) -> str:
    """Return the name of a drive, or of a kind of scan, without what versions write differently."""
    return re.sub(r"[\s_-]", "", name).lower()


def tube_wavelength(
    lines: Mapping[str, float], ratio: float, anode: str, used: float = 0.0
) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength of a range in Å, and a note which line that is.

    Args:
        lines: kAlpha1, kAlpha2 and kBeta of the tube in Å; 0 where the file doesn't say one.
        ratio: Of the intensities of Kα2 and Kα1, 0 behind a monochromator.
        anode: As the file calls it.
        used: What the range says was used, in Å; programs write Kα1 there where both lines are in the beam.

    Raises:
        DatasetError: If the range and the tube differ.
    """
    known = {name: lines[name] if lines.get(name, 0) > 0 else np.nan for name in ("kAlpha1", "kAlpha2", "kBeta")}
    if not np.isfinite(known["kAlpha1"]):
        return (used, ()) if used > 0 else name_anode(anode)
    both = ratio > 0 and np.isfinite(known["kAlpha2"])
    if used > 0 and not any(abs(used / line - 1) <= SAME_LINE for line in (known["kAlpha1"], known["kAlpha2"])):
        if not abs(used / known["kBeta"] - 1) <= SAME_LINE:
            raise DatasetError(
                f"A range says a wavelength of {used:g} Å, and its tube has Kα1 of {known['kAlpha1']:g} Å. Export the "
                "scan with the one that is right."
            )
        return name_line("K-Beta", known, ratio, anode)
    return name_line("K-Alpha" if both else "K-Alpha 1", known, ratio, anode)


def tilts(axis: ScanAxis, angles: Mapping[str, float], *, coupled: bool) -> dict[str, float | str]:
    """Return how the sample was tilted, as a `Part` has it, from where its drives began; a Theta of 0 isn't said."""
    settings: dict[str, float | str] = {
        f"{name.title()} (°)": angles[name] for name in ("chi", "phi") if name in angles
    }
    if theta := angles.get("theta"):
        settings |= incidence("Theta", axis, theta + (axis - axis[0]) / 2 if coupled else np.full_like(axis, theta))
    return settings


def _tube(tension: float, current: float) -> dict[str, float | str]:
    said = {"tube's tension (kV)": tension, "tube's current (mA)": current}
    return {name: value for name, value in said.items() if value > 0}


def without_stage(parts: Sequence[Part]) -> list[Part]:
    """Return parts without a place where all say 0, 0, as instruments do that have no stage.

    Raises:
        DatasetError: If a place is infinite or NaN.
    """
    if not np.isfinite([at for part in parts for at in (part.x, part.y) if at is not None]).all():
        raise DatasetError("A place on the stage is no number. Export the scan again.")
    if all(not part.x and not part.y for part in parts):
        return [part._replace(x=None, y=None) for part in parts]
    return list(parts)


FORMATS = (Format("Bruker raw", (".raw",), _is_raw, _read_raw),)

"""The texts that Bruker's programs export: `.uxd`, and the `.txt` that begins with `;RAW4.00`.

A `.uxd` has keys like `_STEPTIME=1`, and behind a mark the numbers of a range. The mark says what they are: `_COUNTS`,
`_CPS`, or pairs with 2θ, `_2THETACOUNTS`, `_2THETACPS`. The other has sections like `[RangeHeader]` with keys, and
under `[Data]` the points of a range. No description of either knows factors of an attenuator.
"""

import re
from collections.abc import Mapping, Sequence

from glassmap.agent.data.formats.bruker import (
    ALONE,
    COUPLED,
    SAME_START,
    check_counts,
    even_axis,
    plain_drive,
    tilts,
    tube_wavelength,
    without_stage,
)
from glassmap.agent.data.formats.lines import decode, head_of, numbers_of
from glassmap.agent.data.formats.markup import counted
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import K_ALPHA_RATIO
from glassmap.agent.errors import DatasetError

MARK = re.compile(r"_(2THETA)?(COUNTS|CPS)(TIME)?\s*(?:=\s*\d+\s*)?")  # behind it stand the numbers of a range
KEY = re.compile(r"_(\w+)\s*=\s*(.*)")
TILTS = {"theta": "THETA", "chi": "KHI", "phi": "PHI"}
SETTINGS = {
    "Z": "Z (mm)",
    "KV": "tube's tension (kV)",
    "MA": "tube's current (mA)",
    "TEMP": "temperature",
    "TEMPERATURE": "temperature",
    "CHI": "Chi (°)",
    "PSI": "Psi (°)",
    "AUX1": "auxiliary drive 1",
    "AUX2": "auxiliary drive 2",
    "AUX3": "auxiliary drive 3",
}


def _is_uxd(content: bytes, suffix: str) -> bool:
    return re.search(r"^_(FILEVERSION|(2THETA)?(COUNTS|CPS))", head_of(content), re.MULTILINE) is not None


def _read_uxd(content: bytes, suffix: str) -> list[Part]:
    """Read every range of a `.uxd`; what a range doesn't say, the one before it or the file does."""
    said, own, parts = dict[str, str](), set[str](), list[Part]()
    mark: re.Match[str] | None = None
    body, first = list[str](), 0
    for number, line in enumerate([*decode(content).splitlines(), "_END=1"], start=1):
        line = line.strip()
        if not line or line.startswith(";"):
            body.append("")
            continue
        if not line.startswith("_"):
            if mark is None:
                raise DatasetError(f"Line {number}: {line[:40]!r} stands before the mark of any range, like _COUNTS.")
            body.append(line)
            continue
        if mark is not None:
            parts.append(_range(mark, body, first, said, own, len(parts) + 1))
            mark, own = None, set[str]()
        if (found := MARK.fullmatch(line)) is not None:
            mark, body, first = found, [], number + 1
        elif (key := KEY.fullmatch(line)) is not None:
            said[key[1].upper()] = key[2].strip().strip("'\"").strip()
            own.add(key[1].upper())
    if not parts:
        raise DatasetError("It holds no range. Wait until it is written whole, or export the scan again.")
    return without_stage(parts)


def _range(
    mark: re.Match[str], body: Sequence[str], first: int, said: Mapping[str, str], own: set[str], place: int
) -> Part:
    """Return a range of a `.uxd`.

    Args:
        mark: What its numbers are.
        body: Its numbers, in lines of which the first is that of `first`.
        first: See `body`.
        said: The keys of the file, of the ranges before it, and its own.
        own: Which of `said` are its own.
        place: Of the range in the file.
    """
    drive = said.get("DRIVE", "")
    if drive and plain_drive(drive) not in (*COUPLED, *ALONE):
        raise DatasetError(f"Range {place} is a scan over {drive}, no scan over 2θ. Measure one over 2θ.")
    width = 1 + bool(mark[1]) + bool(mark[3])
    found = numbers_of([line.replace(", ", " ") for line in body], first)
    if found.size % width or not found.size:
        raise DatasetError(f"Range {place} holds {found.size} numbers behind {mark[0]}, {width} a point are expected.")
    columns = found.reshape(-1, width)
    if "STEPCOUNT" in own and _number(said, "STEPCOUNT") != len(columns):
        raise DatasetError(
            f"Range {place} announces {_number(said, 'STEPCOUNT'):g} points and holds {len(columns)}; it is cut off. "
            "Wait until it is written, or export it again."
        )
    intensity = columns[:, 1 if mark[1] else 0].copy()
    starts = [_number(said, key) for key in ("START", "2THETA") if key in own]
    if mark[1]:
        axis = columns[:, 0].copy()
    elif not starts or "STEPSIZE" not in said:
        raise DatasetError(f"Range {place} doesn't say where 2θ begins and its step: _START and _STEPSIZE.")
    else:
        axis = even_axis(starts[0], _number(said, "STEPSIZE"), intensity.size, place)
    if starts and max(abs(start - axis[0]) for start in starts) > SAME_START:
        raise DatasetError(
            f"Range {place} begins at 2θ = {axis[0]:g}°, and its header says "
            f"{' and '.join(f'{start:g}' for start in starts)}. Export the scan again."
        )
    lines = {name: _number(said, key) for name, key in (("kAlpha1", "WL1"), ("kAlpha2", "WL2"), ("kBeta", "WL3"))}
    if said.get("WL_UNIT", "A").lower()[:1] not in "aå":
        raise DatasetError(f"Its wavelengths are in {said['WL_UNIT']!r}; Å is expected. Export the scan again.")
    ratio = _number(said, "WLRATIO") if "WLRATIO" in said else K_ALPHA_RATIO
    wavelength, notes = tube_wavelength(lines, ratio, said.get("ANODE", ""), _number(said, "RANGE_WL"))
    angles = {name: _number(said, key) for name, key in TILTS.items() if key in said}
    settings = tilts(axis, angles, coupled=not drive or plain_drive(drive) in COUPLED)
    settings |= {name: _number(said, key) for key, name in SETTINGS.items() if key in said}
    x, y = (_number(said, key) if key in said else None for key in ("X", "Y"))
    seconds = _number(said, "STEPTIME") or None
    is_rate = mark[2] == "CPS"
    if mark[3]:
        intensity, seconds, is_rate, timed = counted(intensity, columns[:, -1])
        notes = (*notes, *timed)
    sample = said.get("SAMPLE") or None
    part = Part(axis, intensity, wavelength=wavelength, sample=sample, x=x, y=y, seconds=seconds, is_rate=is_rate)
    return part._replace(settings=settings, notes=notes)


def _number(said: Mapping[str, str], key: str) -> float:
    """Return a number of a header, 0 where it isn't there.

    Raises:
        DatasetError: If it is none.
    """
    try:
        return float(numbers_of([said.get(key, "0")], 1)[0])
    except (DatasetError, IndexError) as error:
        raise DatasetError(f"{key} is {said[key]!r}; a number is expected. Export the scan again.") from error


def _is_sections(content: bytes, suffix: str) -> bool:
    return head_of(content).lstrip().startswith(";RAW4")


def _read_sections(content: bytes, suffix: str) -> list[Part]:
    """Read every range of a text of sections."""
    parts, section, body, first = list[Part](), "", list[str](), 0
    said = {"HardwareConfiguration": dict[str, str](), "RangeHeader": dict[str, str](), "VarInfo": dict[str, str]()}
    sample: str | None = None
    for number, line in enumerate([*decode(content).splitlines(), "[]"], start=1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            if section == "Data":
                parts.append(_range_of_sections(body, first, said, len(parts) + 1)._replace(sample=sample))
            section, body, first = line[1:-1].strip(), [], number + 1
            if section in ("RangeHeader", "VarInfo"):
                said[section] = {}
        elif section == "Data":
            body.append(line)
        elif section in said and "=" in line:
            key, _, value = line.partition("=")
            said[section][key.strip()] = value.strip()
            if said["VarInfo"].get("Type") == "SAMPLEID":
                sample = said["VarInfo"].get("Value") or sample
    if not parts:
        raise DatasetError("It holds no range, which begins with [Data]. Wait until it is written, or export it again.")
    return parts


def _range_of_sections(body: Sequence[str], first: int, sections: Mapping[str, Mapping[str, str]], place: int) -> Part:
    """Return a range of its lines, of which the first, that of `first` in the file, names their columns."""
    tube, said = sections["HardwareConfiguration"], sections["RangeHeader"]
    scan = said.get("ScanType", "")
    if scan and plain_drive(scan) not in (*COUPLED, *ALONE):
        raise DatasetError(f"Range {place} is {scan}, no scan over 2θ. Measure one over 2θ.")
    titles = [title.strip() for title in (body[0] if body else "").strip(", ").split(",")]
    if len(titles) != 2 or plain_drive(titles[0]) not in ("angle", "2theta", "twotheta"):
        raise DatasetError(
            f"Line {first}: the columns of range {place} are {', '.join(map(repr, titles))[:200]}; Angle and one of "
            "counts are expected. Export the scan with one detector."
        )
    found = numbers_of([line.rstrip(", ").replace(",", " ") for line in body[1:]], first + 1)
    steps = _number(said, "Steps") if "Steps" in said else found.size / 2
    if found.size != 2 * steps or found.size < 2:
        raise DatasetError(f"Range {place} announces {steps:g} points and holds {found.size / 2:g}; it is cut off.")
    axis, counts = found[::2].copy(), found[1::2].copy()
    check_counts(counts, place)
    if (unit := tube.get("WaveUnit") or "A").lower()[0] not in "aå":
        raise DatasetError(f"Its wavelengths are in {unit!r}; Å is expected. Export the scan again.")
    lines = {
        name: _number(tube, key) for name, key in (("kAlpha1", "Alpha1"), ("kAlpha2", "Alpha2"), ("kBeta", "Beta"))
    }
    ratio = _number(tube, "AlphaRatio") if "AlphaRatio" in tube else K_ALPHA_RATIO
    wavelength, notes = tube_wavelength(lines, ratio, tube.get("Anode", ""), _number(said, "ActuallyUsedLambda"))
    seconds = _number(said, "Time") or None
    keys = {"GeneratorVoltage": "tube's tension (kV)", "GeneratorCurrent": "tube's current (mA)"}
    settings: dict[str, float | str] = {name: _number(said, key) for key, name in keys.items() if key in said}
    settings["scan type"] = scan
    return Part(axis, counts, wavelength=wavelength, seconds=seconds, settings=settings, notes=notes)


FORMATS = (
    Format("Bruker uxd", (".uxd", ".txt", ".dat", ".asc", ".xy"), _is_uxd, _read_uxd),
    Format("Bruker text", (".txt", ".xy", ".csv", ".dat"), _is_sections, _read_sections),
)

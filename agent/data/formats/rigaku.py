"""Rigaku `.ras`, which is text, and `.rasx`, an archive of text and XML.

Each line of a scan holds the position, the intensity as the detector saw it, and the factor of the attenuator that
stood before it, by which the intensity is multiplied here, as the reader of NIST's reflectometers does (reductus).
Positions of the axes are those of the scan's start.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from glassmap.agent.data.formats.lines import decode, head_of, numbers_of
from glassmap.agent.data.formats.markup import incidence, name_anode, name_line, open_archive, parse_xml
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import K_ALPHA_RATIO, check_anode, read_number
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import ScanAxis, Scans

RATES = ("cps", "counts/s", "countspersecond")
OVER_TWO_THETA = (  # names of axes without blanks, signs and case, whose positions are 2θ
    "twotheta",
    "2theta",
    "2θ",
    "twothetatheta",
    "2thetatheta",
    "2θθ",
    "theta2theta",
    "θ2θ",
    "twothetaomega",
    "2thetaomega",
    "2θω",
    "twothetachi",
    "2θχ",
    "twothetachiphi",
    "2θχφ",
)
OMEGA_FOLLOWS = ("twothetaomega", "2thetaomega", "2θω")  # at its offset from half of 2θ
OMEGA_STANDS = ("twotheta", "2theta", "2θ")
ELSEWHERE = re.compile(  # axes that are the place, follow the scan, or tell how the instrument is
    r"[XY]|(TwoTheta|Omega|Theta|Alpha|Beta|Attenuator|PHA|Target_|HVPS_|CW_|RE_|Version_).*"
)
NOWHERE = ("", "-", "None")  # positions of what isn't mounted
KELVIN = 273.15


class Stage(NamedTuple):
    """An axis, or a slit or filter that the programs list as one."""

    position: str
    unit: str
    state: str  # Fixed, Scan or Oscillation


class Conditions(NamedTuple):
    """What a file says of one scan besides its points."""

    said: Mapping[str, str]  # by the keys of `.ras`, without the star
    axes: Mapping[str, Stage]


def _is_ras(content: bytes, suffix: str) -> bool:
    return head_of(content).lstrip().startswith("*RAS_DATA_START")


def _read_ras(content: bytes, suffix: str) -> list[Part]:
    """Read every scan of a text that has one or many.

    Raises:
        DatasetError: If it is cut off, or a scan is refused.
    """
    lines = [line.strip() for line in decode(content).splitlines()]
    starts = [number for number, line in enumerate(lines) if line == "*RAS_INT_START"]
    ends = [number for number, line in enumerate(lines) if line == "*RAS_INT_END"]
    if len(starts) != len(ends) or "*RAS_DATA_END" not in lines[ends[-1] if ends else 0 :]:
        raise DatasetError("It lacks its end, *RAS_INT_END and *RAS_DATA_END. Wait until it is written, or export it.")
    parts, before = list[Part](), 0
    for place, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        try:
            said = dict(key_of(line) for line in lines[before:start] if line.startswith("*"))
            parts.append(read_lines(lines[start + 1 : end], start + 2, Conditions(said, axes_of_keys(said))))
        except DatasetError as error:
            raise DatasetError(f"Scan {place} of {len(starts)}: {error}" if len(starts) > 1 else str(error)) from error
        before = end
    return parts


def key_of(line: str) -> tuple[str, str]:
    """Return the key and the value of a line like `*FILE_SAMPLE "r001-01"`."""
    key, _, value = line[1:].partition(" ")
    return key, value.strip().strip('"').strip()


def axes_of_keys(said: Mapping[str, str]) -> dict[str, Stage]:
    """Return the axes that keys list by numbers, each by both of its names."""
    axes: dict[str, Stage] = {}
    for key, name in said.items():
        if (found := re.fullmatch(r"MEAS_COND_AXIS_NAME(?:_INTERNAL)?-(\d+)", key)) is not None:
            values = (said.get(f"MEAS_COND_AXIS_{what}-{found[1]}", "") for what in ("POSITION", "UNIT", "STATE"))
            axes.setdefault(name, Stage(*values))
    return axes


def _is_rasx(content: bytes, suffix: str) -> bool:
    return content.startswith(b"PK")


def _read_rasx(content: bytes, suffix: str) -> list[Part]:
    """Read every profile of an archive, each with the conditions beside it; pictures of detectors are left aside."""
    members = open_archive(content, "Data", ".txt", ".xml")
    found = {name: match for name in members if (match := MEMBER.fullmatch(name)) is not None}
    profiles = [name for name, match in found.items() if match["kind"] == "Profile"]
    conditions = {(match["folder"], match["number"]): n for n, match in found.items() if match["kind"] != "Profile"}
    if not profiles:
        raise DatasetError("It holds no profile, Data0/Profile0.txt; pictures alone are no scan. Export the profile.")
    parts: list[Part] = []
    for name in sorted(profiles, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        try:
            beside = conditions.get((found[name]["folder"], found[name]["number"]))
            if beside is None:
                raise DatasetError("No list of its conditions lies beside its profile. Export the scan again.")
            lines = [line.strip() for line in decode(members[name]).splitlines()]
            parts.append(read_lines(lines, 1, _conditions(parse_xml(members[beside]))))
        except DatasetError as error:
            raise DatasetError(f"{name}: {error}" if len(profiles) > 1 else str(error)) from error
    return parts


MEMBER = re.compile(  # of an archive; the programs write Mesurement
    r"(?P<folder>.*)/(?P<kind>Profile|Mea?surementConditions)(?P<number>\d*)\.(?:txt|xml)"
)


def _conditions(root: Element) -> Conditions:
    """Return what the list of conditions of an archive says, by the keys of `.ras`."""
    said = {
        str(pair[0].text).lstrip("*"): (pair[1].text or "").strip()
        for pair in root.iterfind("RASHeader/Pair")
        if len(pair) == 2
    }
    for key, path in ELEMENTS.items():
        if (text := root.findtext(path)) is not None and text.strip():
            said[key] = text.strip()
    axes: dict[str, Stage] = {}
    for axis in root.iterfind("Axes/Axis"):
        stage = Stage(axis.get("Position", ""), axis.get("Unit", ""), axis.get("State", ""))
        axes.setdefault(axis.get("Name", ""), stage)
    return Conditions(said, axes_of_keys(said) | axes)


ELEMENTS = {  # of an archive, for the keys of `.ras`
    "FILE_SAMPLE": "GeneralInformation/SampleName",
    "HW_XG_TARGET_NAME": "HWConfigurations/XrayGenerator/TargetName",
    "HW_XG_WAVE_LENGTH_ALPHA1": "HWConfigurations/XrayGenerator/WavelengthKalpha1",
    "HW_XG_WAVE_LENGTH_ALPHA2": "HWConfigurations/XrayGenerator/WavelengthKalpha2",
    "HW_XG_WAVE_LENGTH_BETA": "HWConfigurations/XrayGenerator/WavelengthKbeta",
    "MEAS_COND_XG_WAVE_TYPE": "HWConfigurations/XrayGenerator/WaveType",
    "MEAS_COND_XG_VOLTAGE": "HWConfigurations/XrayGenerator/Voltage",
    "MEAS_COND_XG_CURRENT": "HWConfigurations/XrayGenerator/Current",
    "MEAS_SCAN_AXIS_X": "ScanInformation/AxisName",
    "MEAS_SCAN_MODE": "ScanInformation/Mode",
    "MEAS_SCAN_STEP": "ScanInformation/Step",
    "MEAS_SCAN_SPEED": "ScanInformation/Speed",
    "MEAS_SCAN_SPEED_UNIT": "ScanInformation/SpeedUnit",
    "MEAS_SCAN_UNIT_X": "ScanInformation/PositionUnit",
    "MEAS_SCAN_UNIT_Y": "ScanInformation/IntensityUnit",
    "MEAS_DATA_COUNT": "ScanInformation/DataCount",
}


def read_lines(lines: Sequence[str], first: int, conditions: Conditions) -> Part:
    """Read one scan of its lines, of which the first is that of `first` in its file.

    Raises:
        DatasetError: If it isn't over 2θ, is cut off, or holds what is no point.
    """
    scanned = axis_of(conditions.said)
    return part_of(rows_of(lines, first), scanned, conditions)


def axis_of(said: Mapping[str, str]) -> str:
    """Return the name of the axis that was scanned, in small letters.

    Raises:
        DatasetError: If its positions aren't 2θ in degrees.
    """
    over = said.get("MEAS_SCAN_AXIS_X_INTERNAL") or said.get("MEAS_SCAN_AXIS_X", "")
    scanned = re.sub(r"[\s_/-]", "", over.translate(GREEK)).lower()
    if scanned not in OVER_TWO_THETA:
        raise DatasetError(
            f"It was scanned over {over or 'an axis that it does not name'}, not over 2θ. Measure one over 2θ, or "
            "export it with the name of its axis."
        )
    unit = said.get("MEAS_SCAN_UNIT_X") or "deg"
    if unit.lower().rstrip(".") not in ("deg", "degree", "degrees", "°"):
        raise DatasetError(f"2θ is in {unit!r}; degrees are expected. Export the scan again.")
    return scanned


def part_of(rows: Scans, scanned: str, conditions: Conditions) -> Part:
    """Return a scan as a `Part`.

    Args:
        rows: Position, intensity and factor of the attenuator of each point.
        scanned: The name of its axis, as `axis_of` returns it.
        conditions: See `Conditions`.

    Raises:
        DatasetError: If its header and its points contradict each other.
    """
    said = conditions.said
    if (announced := number_of(said, "MEAS_DATA_COUNT")) is not None and announced != len(rows):
        raise DatasetError(f"It announces {announced:g} points and holds {len(rows)}; it is cut off. Export it again.")
    axis, intensity, factors = rows[:, 0].copy(), rows[:, 1] * rows[:, 2], rows[:, 2]
    notes: tuple[str, ...] = ()
    if not (factors > 0).all():
        raise DatasetError(f"A factor of the attenuator is {factors.min():g}; each must be above 0. Export it again.")
    if (factors != 1).any():
        notes = (f"Multiplied by the factors of its attenuator, {factors.min():g} to {factors.max():g}.",)
    wavelength, line = _wavelength(conditions)
    return Part(
        axis,
        intensity,
        wavelength=wavelength,
        sample=said.get("FILE_SAMPLE") or None,
        x=_place(conditions.axes, "X"),
        y=_place(conditions.axes, "Y"),
        seconds=_seconds(said),
        is_rate=re.sub(r"\s", "", said.get("MEAS_SCAN_UNIT_Y", "")).lower() in RATES,
        settings={"scan axis": scanned, **_settings(scanned, axis, conditions)},
        notes=(*line, *notes),
    )


GREEK = str.maketrans({"Θ": "θ", "Ω": "ω", "Χ": "χ", "Φ": "φ"})


def rows_of(lines: Sequence[str], first: int) -> Scans:
    """Return position, intensity and factor of the attenuator of each line.

    Raises:
        DatasetError: If a line has other than two or three numbers; one factor is 1 where it isn't said.
    """
    width = next((len(line.split()) for line in lines if line), 0)
    wrong = next((number for number, line in enumerate(lines, first) if line and len(line.split()) != width), None)
    if wrong is not None or width not in (2, 3):
        raise DatasetError(
            f"Line {first if wrong is None else wrong}: position, intensity and attenuation are expected. Export the "
            "scan again."
        )
    found = numbers_of(lines, first).reshape(-1, width)
    return found if width == 3 else np.column_stack([found, np.ones(len(found))])


def number_of(said: Mapping[str, str], key: str) -> float | None:
    """Return a number of the header, None where it isn't said.

    Raises:
        DatasetError: If it is none.
    """
    if not said.get(key):
        return None
    try:
        return float(numbers_of([said[key]], 1)[0])
    except DatasetError as error:
        raise DatasetError(f"{key} is {said[key]!r}; a number is expected. Export the scan again.") from error


def _seconds(said: Mapping[str, str]) -> float | None:
    """Return how long each point was counted: told in steps, or by the speed of a continuous scan."""
    speed, step, unit = (
        number_of(said, "MEAS_SCAN_SPEED"),
        number_of(said, "MEAS_SCAN_STEP"),
        said.get("MEAS_SCAN_SPEED_UNIT", "").lower(),
    )
    if not speed or speed < 0:
        return None
    if "deg" in unit:
        per = 60.0 if "min" in unit else 1.0
        return abs(step) / speed * per if step else None
    return speed if unit.startswith("s") else None


def _place(axes: Mapping[str, Stage], name: str) -> float | None:
    """Return where the stage stood, in mm.

    Raises:
        DatasetError: If that is in another unit, or no number.
    """
    stage = axes.get(name)
    if stage is None or stage.position in NOWHERE or stage.state == "Scan":
        return None
    if stage.unit != "mm":
        raise DatasetError(f"The stage's {name} is in {stage.unit!r}; mm is expected. Export the scan again.")
    return number_of({name: stage.position}, name)


def _settings(scanned: str, two_theta: ScanAxis, conditions: Conditions) -> dict[str, float | str]:
    """Return what else was set, as a `Part` has it; what turned or moved along with the scan says nothing."""
    settings: dict[str, float | str] = {}
    angles = {name: _value(stage) for name, stage in conditions.axes.items() if name in ("Omega", "TwoTheta")}
    omega, detector = angles.get("Omega"), angles.get("TwoTheta")
    if isinstance(omega, float) and scanned in OMEGA_STANDS:
        settings |= incidence("Omega", two_theta, np.full_like(two_theta, omega))
    if isinstance(omega, float) and isinstance(detector, float) and scanned in OMEGA_FOLLOWS:
        settings["offset of Omega (°)"] = round(omega - detector / 2, 3)
    for name, stage in conditions.axes.items():
        if stage.position in ("", "-") or stage.state not in ("", "Fixed") or ELSEWHERE.fullmatch(name):
            continue
        value, unit = _value(stage), {"deg": "°"}.get(stage.unit, stage.unit)
        if name.startswith(("Temperature", "SampleTemperature")) and isinstance(value, float):
            settings["temperature (K)"] = value if unit == "K" else value + KELVIN
        else:
            settings[f"{name} ({unit})" if unit else name] = value
    for key, name in (("VOLTAGE", "tube's tension (kV)"), ("CURRENT", "tube's current (mA)")):
        if (value := number_of(conditions.said, f"MEAS_COND_XG_{key}")) is not None:
            settings[name] = value
    return settings


def _value(stage: Stage) -> float | str:
    try:
        value = read_number(stage.position)
    except ValueError:
        return stage.position
    return value if np.isfinite(value) else stage.position


def _wavelength(conditions: Conditions) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength in Å, and a note which line that is.

    Both Kα lines are in the beam, whichever of them the file names, unless a germanium crystal stands before the
    sample; mirrors (CBO) and filters pass both.

    Raises:
        DatasetError: If it is in another unit.
    """
    said = conditions.said
    crystals = [said.get(key, "") for key in ("HW_I_MONOCHRO_NAME", "HW_I_MONOCHRO_NAME_INTERNAL")]
    crystals += [stage.position for name, stage in conditions.axes.items() if name == "IncidentMonochromator"]
    keys = {"kAlpha1": "ALPHA1", "kAlpha2": "ALPHA2", "kBeta": "BETA"}
    lines = {name: number_of(said, f"HW_XG_WAVE_LENGTH_{key}") or np.nan for name, key in keys.items()}
    if not np.isfinite(lines["kAlpha1"]):
        return name_anode(said.get("HW_XG_TARGET_NAME", ""))
    if (unit := said.get("HW_XG_WAVE_LENGTH_UNIT") or "Angstrom").lower() not in ("angstrom", "å", "a"):
        raise DatasetError(f"Its wavelengths are in {unit!r}; Å is expected. Export the scan again.")
    check_anode(said.get("HW_XG_TARGET_NAME", ""), lines["kAlpha1"])
    crystal = re.search(r"Ge\s*\(?\s*\d{3}\)?\s*x?\s*\d?|Johansson", " ".join(crystals))
    if said.get("MEAS_COND_XG_WAVE_TYPE", "").lower() in ("kb", "kbeta"):
        return name_line("K-Beta", lines, 0.0)
    if crystal is not None:
        wavelength, notes = name_line("K-Alpha 1", lines, 0.0)
        return wavelength, (*notes, f"{crystal[0].strip()} stands before the sample.")
    return name_line("K-Alpha" if np.isfinite(lines["kAlpha2"]) else "K-Alpha 1", lines, K_ALPHA_RATIO)


def _is_binary(content: bytes, suffix: str) -> bool:
    return content.startswith(b"FI")


def _refuse_binary(content: bytes, suffix: str) -> list[Part]:
    raise DatasetError("It is a binary .raw of Rigaku, whose layout isn't public. Export it as .ras, .rasx or .asc.")


FORMATS = (
    Format("Rigaku rasx", (".rasx",), _is_rasx, _read_rasx),
    Format("Rigaku ras", (".ras", ".txt", ".asc", ".dat"), _is_ras, _read_ras),
    Format("Rigaku binary raw", (".raw",), _is_binary, _refuse_binary),
)

"""The texts that Rigaku's programs export besides `.ras`: `.txt` with its keys, and `.asc` of older programs.

A `.txt` has lines like `*FILE_SAMPLE "r001-01"` and `#Intensity_unit=counts` above the points of each scan. An `.asc`
has lines like `*SAMPLE = r001-01`, and between `*COUNT` and `*END` of each group its intensities alone. Both say the
unit of the intensities; neither says whether an attenuator's factor is in them, so that any but 1 is refused.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from glassmap.agent.data.formats.lines import decode, head_of, numbers_of
from glassmap.agent.data.formats.parts import SAME_SETTING, Format, Part
from glassmap.agent.data.formats.rigaku import (
    Conditions,
    axes_of_keys,
    axis_of,
    key_of,
    number_of,
    part_of,
    read_lines,
)
from glassmap.agent.errors import DatasetError

KEYS = {  # of an `.asc`, by those of `.ras`
    "FILE_SAMPLE": "SAMPLE",
    "HW_I_MONOCHRO_NAME": "I_MONOCHRO",
    "HW_XG_WAVE_LENGTH_ALPHA1": "WAVE_LENGTH1",
    "HW_XG_WAVE_LENGTH_ALPHA2": "WAVE_LENGTH2",
    "MEAS_COND_XG_CURRENT": "MA",
    "MEAS_COND_XG_VOLTAGE": "KV",
    "MEAS_DATA_COUNT": "COUNT",
    "MEAS_SCAN_AXIS_X": "SCAN_AXIS",
    "MEAS_SCAN_SPEED": "SPEED",
    "MEAS_SCAN_SPEED_UNIT": "SPEED_DIM",
    "MEAS_SCAN_STEP": "STEP",
    "MEAS_SCAN_UNIT_X": "XUNIT",
    "MEAS_SCAN_UNIT_Y": "YUNIT",
}
SIGN = re.compile(r"^(\*MEAS_SCAN_AXIS_X\b|#Attenuator_coefficient=|#Intensity_unit=)", re.MULTILINE)  # of a `.txt`


def _is_export(content: bytes, suffix: str) -> bool:
    head = head_of(content).lstrip()
    return head.startswith(("*", "#")) and SIGN.search(head) is not None


def _read_export(content: bytes, suffix: str) -> list[Part]:
    """Read every scan of a `.txt`: keys above points, again and again."""
    parts, said, body, first = list[Part](), dict[str, str](), list[str](), 0
    for number, line in enumerate([*decode(content).splitlines(), "*END"], start=1):
        line = line.strip()
        if not line.startswith(("*", "#")):
            first = first if body else number
            body.append(line)
            continue
        if any(body):
            if not said:
                raise DatasetError(f"Line {first}: points stand there without the keys that say what they are.")
            parts.append(_scan_of_export(body, first, said))
            said = {}
        body = list[str]()
        if line.startswith("*"):
            said |= [key_of(line)]
        elif "=" in line:
            said[line[1:].partition("=")[0].strip()] = line.partition("=")[2].strip()
    return parts


def _scan_of_export(body: Sequence[str], first: int, said: Mapping[str, str]) -> Part:
    if (factor := number_of(said, "Attenuator_coefficient")) not in (None, 1.0):
        raise DatasetError(
            f"Line {first}: its attenuator's coefficient is {factor:g}, and the text doesn't say whether its "
            "intensities are multiplied by it. Export the scan as .ras or .rasx."
        )
    unit = said.get("Intensity_unit") or said.get("MEAS_SCAN_UNIT_Y", "")
    return read_lines(body, first, Conditions({**said, "MEAS_SCAN_UNIT_Y": unit}, axes_of_keys(said)))


def _is_asc(content: bytes, suffix: str) -> bool:
    return re.match(r"\s*\*TYPE\s*=.*^\*(BEGIN|GROUP_COUNT)\b", head_of(content), re.DOTALL | re.MULTILINE) is not None


def _read_asc(content: bytes, suffix: str) -> list[Part]:
    """Read every group of an `.asc`; what a group doesn't say, the file does."""
    file, said, parts = dict[str, str](), dict[str, str](), list[Part]()
    body, first = list[str](), 0
    is_group = False
    for number, line in enumerate(decode(content).splitlines(), start=1):
        line = line.strip()
        key, _, value = line.lstrip("*").partition("=")
        if not line.startswith("*"):
            body.append(line)
        elif line == "*BEGIN":
            said, is_group = dict(file), True
        elif line == "*END" and is_group:
            parts.append(_group_of_asc(body, first, said))
            is_group = False
        elif "=" in line:
            (said if is_group else file)[key.strip()] = value.strip()
            body, first = [], number + 1
    if is_group or not parts:
        raise DatasetError("It lacks the end of its last group, *END. Wait until it is written, or export it again.")
    if (groups := number_of(file, "GROUP_COUNT")) not in (None, len(parts)):
        raise DatasetError(f"It announces {groups:g} groups and holds {len(parts)}; it is cut off. Export it again.")
    return parts


def _group_of_asc(body: Sequence[str], first: int, said: Mapping[str, str]) -> Part:
    keys = {key: said[own] for key, own in KEYS.items() if own in said}
    scanned = axis_of(keys)
    counts = numbers_of([line.replace(",", " ") for line in body], first)
    start, step, stop = (number_of(said, key) for key in ("START", "STEP", "STOP"))
    if start is None or step is None:
        raise DatasetError("A group doesn't say where 2θ begins and its step: *START and *STEP.")
    axis = start + step * np.arange(counts.size)
    if stop is not None and counts.size and abs(axis[-1] - stop) > abs(step) / 2 + SAME_SETTING:
        raise DatasetError(
            f"A group of {counts.size} points from {start:g}° by steps of {step:g}° ends at {axis[-1]:g}°, and its "
            f"header says {stop:g}°. Export the scan again."
        )
    return part_of(np.column_stack([axis, counts, np.ones_like(axis)]), scanned, Conditions(keys, {}))


FORMATS = (
    Format("Rigaku text", (".txt", ".dat", ".csv", ".asc"), _is_export, _read_export),
    Format("Rigaku asc", (".asc", ".txt", ".dat"), _is_asc, _read_asc),
)

"""GSAS powder data: banks of numbers in text, over 2θ in hundredths of a degree.

The layouts are those of the GSAS manual (LAUR 86-748, "GSAS Standard Powder Data File"): a title, comments, and a line
`BANK number channels records binning coefficients type`, then records of 80 columns: STD has ten intensities of eight
columns, of which the first two say how many counters saw it, ESD five pairs of intensity and deviation, FXY and FXYE a
point a line. Times of flight and energies are refused.
"""

import re
from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.formats.headers import state
from glassmap.agent.data.formats.lines import decode
from glassmap.agent.data.formats.markup import parse_numbers
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import MAX_POINTS
from glassmap.agent.errors import DatasetError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Scan, ScanAxis

SUFFIXES = (".gsa", ".gss", ".gsas", ".gda", ".fxye", ".fxy", ".xra", ".raw", ".std", ".esd", ".dat", ".txt")
CENTIDEGREES = 100.0
LOWEST_END = 3.0  # degrees of 2θ; a bank that ends below is in degrees, against the layout
RECORD = 80  # columns
_BANK = re.compile(r"BANK\s+(\S+)\s+(\S+)\s+(\S+)\s+([A-Za-z_]\w*)(.*)")
_ANOTHER_AXIS = {
    **dict.fromkeys(("RALF", "SLOG", "LOG6", "TIME_MAP", "TIME_MAP10"), "times of flight of neutrons"),
    "EDS": "energies", "COND": "d-spacings",
}  # fmt: skip
_TYPES = ("STD", "ESD", "FXY", "FXYE")


def _is_gsas(content: bytes, suffix: str) -> bool:
    return bool(re.search(rb"(?:\A|[\r\n]|(?<= ))BANK\s+\d+\s+\d+\s+\d+\s+[A-Za-z]", content[:200_000]))


def _read_gsas(content: bytes, suffix: str) -> list[Part]:
    """Read all banks of a file.

    Raises:
        DatasetError: If a bank isn't over 2θ, or doesn't hold as many points as it says.
    """
    lines = _lines(decode(content))
    starts = [k for k, line in enumerate(lines) if line.startswith("BANK")]
    if not starts:
        raise DatasetError("No line of it begins with BANK. Export it again.")
    parts = list[Part]()
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), start=1):
        comments = lines[: starts[0]] if number == 1 else _comments_above(lines, start)
        records = [line for line in lines[start + 1 : end] if line.strip() and not line.startswith("#")]
        try:
            axis, intensity = _read_bank(lines[start], records)
        except DatasetError as error:
            raise DatasetError(f"Line {start + 1}: {error}") from error
        stated = state([line for line in comments if not line.lower().startswith("inst")])
        parts.append(
            Part(
                axis,
                intensity,
                wavelength=stated.wavelength,
                sample=stated.sample,
                x=stated.x,
                y=stated.y,
                seconds=stated.seconds,
                notes=stated.notes,
                frame=number if len(starts) > 1 else None,
            )
        )
    return parts


def _lines(text: str) -> list[str]:
    """Return the records of a file, which some systems write without line ends."""
    if "\n" not in text[:1000] and "\r" not in text[:1000]:
        return [text[k : k + RECORD].rstrip() for k in range(0, len(text), RECORD)]
    return text.replace("\x1a", "").splitlines()


def _comments_above(lines: Sequence[str], start: int) -> list[str]:
    """Return the comments that stand right above a line."""
    first = start
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return list(lines[first:start])


def _read_bank(head: str, records: Sequence[str]) -> tuple[ScanAxis, Scan]:
    """Return 2θ in degrees and the intensities of a bank."""
    found = _BANK.match(head)
    if found is None:
        raise DatasetError(f"{visible(head.strip())[:60]!r} doesn't say how its bank is binned. Export it again.")
    channels, binning, rest = found[2], found[4].upper(), found[5].split()
    kind = rest.pop().upper() if rest and rest[-1][:1].isalpha() else "STD"
    if binning in _ANOTHER_AXIS:
        raise DatasetError(
            f"A bank binned as {binning} is over {_ANOTHER_AXIS[binning]}; a scan is over 2θ. Convert it to q and save "
            "two columns."
        )
    if kind not in _TYPES or not binning.startswith("CONS"):
        raise DatasetError(
            f"A bank of {binning} and {kind} isn't known; CONST with {', '.join(_TYPES)} is read. Export it as FXYE."
        )
    if not channels.isascii() or not channels.isdigit() or not 2 <= int(channels) <= MAX_POINTS:
        raise DatasetError(f"A bank has 2 to {MAX_POINTS} points, got {visible(channels)[:20]!r}. Export it again.")
    count = int(channels)
    if kind in ("FXY", "FXYE"):
        width = len(kind) - 1
        rows = [line.split() for line in records]
        if wrong := [row for row in rows if len(row) != width]:
            raise DatasetError(f"{width} numbers a line are needed, got {' '.join(wrong[0])[:60]!r}. Export it again.")
        points = parse_numbers([word for row in rows for word in row]).reshape(-1, width)
        axis, intensity = points[:, 0], points[:, 1].copy()
        start, step = parse_numbers(rest[:2]) if len(rest) >= 2 else (0.0, 0.0)
        if step > 0 and axis.size and abs(axis[0] - start) > max(step, 1.0):
            raise DatasetError(
                f"The bank says that it begins at {start:g}, and its first point is at {axis[0]:g}. Correct the one "
                "that is wrong."
            )
    else:
        if len(rest) < 2:
            raise DatasetError(f"Start and step must follow {binning}, got {' '.join(rest)!r}. Export it again.")
        start, step = parse_numbers(rest[:2])
        intensity = _numbers(records, kind, count)
        axis = start + step * np.arange(len(intensity))
    if len(intensity) != count:
        raise DatasetError(
            f"The bank says {count} points and holds {len(intensity)}. Wait until it is written, or export it again."
        )
    if axis[-1] > 180 * CENTIDEGREES:
        raise DatasetError(
            f"The bank ends at {axis[-1]:g}, which were {axis[-1] / CENTIDEGREES:g}° of 2θ. Are they times of flight? "
            "Convert it to q and save two columns."
        )
    if axis[-1] < LOWEST_END * CENTIDEGREES:
        raise DatasetError(
            f"The bank ends at {axis[-1]:g}, which were {axis[-1] / CENTIDEGREES:g}° of 2θ: a bank is in hundredths of "
            "a degree, and this looks like degrees. Save two columns, `2theta, intensity`."
        )
    return axis / CENTIDEGREES, intensity


def _numbers(records: Sequence[str], kind: str, count: int) -> Scan:
    """Return the intensities of records of fixed columns, in which numbers may touch, or else between blanks."""
    lines = [line.rstrip() for line in records]
    fields = [line[k : k + 8] for line in lines for k in range(0, len(line), 8)]
    cells = fields[::2] if kind == "ESD" else [field[2:] for field in fields]
    is_fixed = (
        len(lines) < count
        and all(len(line) % 8 == 0 for line in lines)
        and all(re.fullmatch(r" *[-+.\deE]+", cell) for cell in cells)
        and all(kind == "ESD" or re.match(r"[ \d]{2}", field) for field in fields)
    )
    words = [word for line in lines for word in line.split()]
    found = [cell.strip() for cell in cells] if is_fixed else words[::2] if kind == "ESD" else words
    return parse_numbers(found) if found else np.empty(0)


FORMATS = (Format("GSAS bank", SUFFIXES, _is_gsas, _read_gsas),)

"""Scans as columns of text."""

import numpy as np

from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.errors import DatasetError, SpectrumError


def _is_text(content: bytes, suffix: str) -> bool:
    return True


def _read_columns(content: bytes, suffix: str) -> list[Part]:
    values: list[tuple[float, float]] = []
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = line.split(",") if "," in line else line.split()
        try:
            point = (read_number(cells[0]), read_number(cells[1]))
        except (ValueError, IndexError):
            if not values:  # still the header
                continue
            raise DatasetError(
                f"Line {number}: two numbers are expected, separated by comma or blanks and with decimal "
                f"points, got {line.strip()[:40]!r}; correct the line or export the scan again."
            ) from None
        if values and not point[0] > values[-1][0]:
            raise SpectrumError(
                f"Line {number}: the axis must increase strictly, but {point[0]:g} follows "
                f"{values[-1][0]:g}; sort the scan and drop repeats."
            )
        values.append(point)
    if len(values) < 2:
        raise DatasetError(
            f"It holds {len(values)} lines of two numbers, separated by comma or blanks and with decimal "
            "points; at least 2 are needed. Export the scan again, or move the file away if it is none."
        )
    axis, intensity = np.array(values).T.copy()
    return [Part(axis, intensity, axis_name=None)]


FORMATS = (
    Format(
        "columns of text",
        (".xy", ".xye", ".csv", ".tsv", ".txt", ".dat", ".chi", ".asc", ".gr"),
        _is_text,
        _read_columns,
        is_of_columns=True,
    ),
)

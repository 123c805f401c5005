"""Files of Bruker: `.brml`."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.formats.markup import name_line, open_archive, parse_xml
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import MAX_POINTS
from glassmap.agent.errors import DatasetError


def _is_brml(content: bytes, suffix: str) -> bool:
    return suffix == ".brml"


def _read_brml(content: bytes, suffix: str) -> list[Part]:
    parts = open_archive(content, "RawData", ".xml")
    raw = [name for name in parts if name.rpartition("/")[2].startswith("RawData")]
    if len(raw) != 1:
        raise DatasetError(f"It holds {len(raw)} scans; one is expected. Export the one that is meant.")
    tree = parse_xml(parts[raw[0]])
    if (status := tree.findtext("MeasurementStatus", "Measured")) != "Measured":
        raise DatasetError(f"The scan's status is {status!r}, not Measured. Measure it again.")
    data, promised = len(list(tree.iter("Datum"))), tree.findtext(".//MeasurementPoints", "0")
    if not 1 < data <= MAX_POINTS or str(data) != promised.strip():
        raise DatasetError(f"It holds {data} points where {promised} were to be measured. Measure it again.")
    return [_read_archive(content)]


def _read_archive(content: bytes) -> Part:
    from fairmat_readers_xrd import (  # pyright: ignore[reportMissingTypeStubs]
        read_bruker_brml,  # pyright: ignore[reportUnknownVariableType]
    )

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "scan.brml"
        path.write_bytes(content)
        warnings.simplefilter("error")  # a number that can't be read is only warned of
        read: dict[str, Any] = read_bruker_brml(str(path))
    if read["metadata"]["scan_type"] != "line" or read["2Theta"] is None:
        raise DatasetError(f"One scan over 2θ is expected, this is a {read['metadata']['scan_type']}.")
    source: dict[str, Any] = read["metadata"]["source"]
    lines = {name: _in(source[name], "angstrom") for name in ("kAlpha1", "kAlpha2", "kBeta")}
    ratio = _in(source["ratioKAlpha2KAlpha1"], "dimensionless")
    wavelength, note = name_line("K-Alpha" if ratio > 0 else "K-Alpha 1", lines, ratio)
    axis = np.asarray(read["2Theta"].to("degree").magnitude, dtype=np.float64)
    intensity = np.asarray(read["intensity"].magnitude, dtype=np.float64)
    return Part(axis, intensity, wavelength=wavelength, notes=note)


def _in(quantity: Any, unit: str) -> float:
    """Return a quantity of the reader in a unit; NaN where the file doesn't say it."""
    return float(quantity.to(unit).magnitude) if hasattr(quantity, "to") else float("nan")


FORMATS = (Format("Bruker brml", (".brml",), _is_brml, _read_brml),)

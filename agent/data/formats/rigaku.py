"""Files of Rigaku: `.rasx`."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.formats.markup import name_line, open_archive, parse_xml
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.errors import DatasetError


def _is_rasx(content: bytes, suffix: str) -> bool:
    return suffix == ".rasx"


def _read_rasx(content: bytes, suffix: str) -> list[Part]:
    parts = open_archive(content, "Data", ".txt", ".xml")
    profiles = [name for name in parts if "Profile" in name]
    if len(profiles) != 1 or any("Image" in name for name in parts):
        raise DatasetError(f"It holds {len(profiles)} profiles; one is expected, without images.")
    profile = parts[profiles[0]]
    if not profile.startswith(b"\xef\xbb\xbf"):  # the reader skips these three bytes unseen
        raise DatasetError("Its profile lacks the mark that it is UTF-8. Export the scan again.")
    for name, part in parts.items():
        if name.endswith(".xml"):
            parse_xml(part)
    scan = _read_archive(content)
    lines = [line.split() for line in profile.decode("utf-8-sig").splitlines() if line.strip()]
    attenuation = np.array([line[2] for line in lines], dtype=np.float64)  # which the reader leaves aside
    return [scan._replace(intensity=scan.intensity * attenuation)]


def _read_archive(content: bytes) -> Part:
    from fairmat_readers_xrd import (  # pyright: ignore[reportMissingTypeStubs]
        read_rigaku_rasx,  # pyright: ignore[reportUnknownVariableType]
    )

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "scan.rasx"
        path.write_bytes(content)
        warnings.simplefilter("error")  # a number that can't be read is only warned of
        read: dict[str, Any] = read_rigaku_rasx(str(path))
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


FORMATS = (Format("Rigaku rasx", (".rasx",), _is_rasx, _read_rasx),)

"""What formats of XML and archives of it have in common: they are parsed and unpacked with care."""

import io
import zipfile
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeXml

from glassmap.agent.data.raw_scan import mean_k_alpha, read_number
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Scan

MAX_PART = 16_000_000  # bytes of each part of an archive


def parse_xml(content: bytes) -> Element:
    """Parse XML that declares no entities.

    Raises:
        DatasetError: If it is cut off, or declares some.
    """
    try:
        return SafeXml.fromstring(content, forbid_dtd=True)
    except ParseError as error:
        raise DatasetError(f"It is no whole XML: {error}. Wait until it is written, or export it again.") from error
    except DefusedXmlException as error:
        raise DatasetError("Its XML declares entities or a document type, which no instrument does.") from error


def numbers(element: Element | None) -> Scan:
    """Return all numbers of an element; one that is no number is refused, not the end of them.

    Raises:
        DatasetError: If there are none, or one is none.
    """
    words = (element.text or "").split() if element is not None else []
    if not words:
        raise DatasetError("Positions or intensities are missing. Export the scan again.")
    try:
        return np.array([read_number(word) for word in words])
    except ValueError as error:
        raise DatasetError(f"{error}. Export the scan again.") from error


def name_line(intended: str, lines: dict[str, float], ratio: float) -> tuple[float | None, tuple[str, ...]]:
    """Return the line that is meant; both Kα weighted by their ratio where both are."""
    alpha = mean_k_alpha(lines["kAlpha1"], lines["kAlpha2"], ratio)
    known = {"K-Alpha 1": ("Kα1", lines["kAlpha1"]), "K-Beta": ("Kβ", lines["kBeta"]), "K-Alpha": ("mean of Kα", alpha)}
    name, wavelength = known.get(intended, ("", float("nan")))
    return (wavelength, (f"Wavelength {wavelength:.5f} Å, {name}.",)) if np.isfinite(wavelength) else (None, ())


def open_archive(content: bytes, start: str, *suffixes: str) -> dict[str, bytes]:
    """Unpack the parts of an archive whose folder or name begins with `start`, after a look at the sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            check_archive(members)
            wanted = [
                member
                for member in members
                if member.filename.endswith(suffixes) and any(p.startswith(start) for p in member.filename.split("/"))
            ]
            return {member.filename: archive.read(member) for member in wanted}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise DatasetError(f"It is no whole archive: {error}. Wait until it is written, or export it again.") from error


def check_archive(members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would unpack to far more than any instrument writes.

    Raises:
        DatasetError: If a part, all parts or their number are too large.
    """
    total, largest = sum(member.file_size for member in members), max((m.file_size for m in members), default=0)
    if len(members) > 1000 or total > 4 * MAX_PART or largest > MAX_PART:
        raise DatasetError(
            f"It unpacks to {len(members)} parts and {total} bytes, the largest {largest}; at most 1000, "
            f"{4 * MAX_PART} and {MAX_PART} are read. Is it a scan or a table?"
        )

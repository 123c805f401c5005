"""What formats of XML and archives of it have in common: they are parsed and unpacked with care."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeXml

from glassmap.agent.data.formats.parts import SAME_SETTING
from glassmap.agent.data.raw_scan import check_anode, line_of_anode, mean_k_alpha, read_number
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Numbers, PerPoint, Scan, ScanAxis

MAX_PART = 16_000_000  # bytes of each part of an archive
MAX_PARTS = 4000  # of an archive; a map of 441 scans has three each
MAX_UNPACKED = 192_000_000  # bytes of all of its parts; a map of 441 scans of 4,000 points has 150 MB
SAME_TIME = 1e-3  # relative; what counting times scatter by
SAME_LINES = 0.01  # relative; what the wavelengths of one doublet differ by


def parse_xml(content: bytes) -> Element:
    """Parse XML that declares no entities.

    Raises:
        DatasetError: If it is cut off, or declares some.
    """
    try:
        return SafeXml.fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise DatasetError("Its XML declares entities or a document type, which no instrument does.") from error
    except (ParseError, LookupError, ValueError) as error:  # cut off, or in letters that nobody knows
        raise DatasetError(f"It is no whole XML: {error}. Wait until it is written, or export it again.") from error


def numbers(element: Element | None) -> Scan:
    """Return all numbers of an element; one that is no number is refused, not the end of them.

    Raises:
        DatasetError: If there are none, or one is none.
    """
    text = (element.text or "") if element is not None else ""
    words = text.split()
    if not words:
        raise DatasetError("Positions or intensities are missing. Export the scan again.")
    return parse_numbers(words)


def number(element: Element | None) -> float:
    """Return the one number of an element.

    Raises:
        DatasetError: If it holds none, several, or something else.
    """
    found = numbers(element)
    if found.size != 1:
        raise DatasetError(f"{found.size} numbers stand where one is expected. Export the scan again.")
    return float(found[0])


def parse_numbers(words: Sequence[str]) -> Scan:
    """Return words as numbers.

    Raises:
        DatasetError: If one is none, or isn't finite.
    """
    try:
        text = " ".join(words)
        read = read_number if "_" in text or not text.isascii() else float
        found = np.array([read(word) for word in words])
    except ValueError as error:
        raise DatasetError(f"{error}. Export the scan again.") from error
    if not np.isfinite(found).all():
        raise DatasetError("It holds NaN or infinite values. Export the scan again.")
    return found


def counted(counts: Scan, times: PerPoint) -> tuple[Scan, float | None, bool, tuple[str, ...]]:
    """Return what was counted for the given times at each point, as a `Part` has it.

    Args:
        counts: At each point.
        times: How long each was counted, s.

    Returns:
        The counts and the time, where all points have the same; else counts per second, with a note.

    Raises:
        DatasetError: If there isn't a time for each point, or one is zero or less.
    """
    if times.shape != counts.shape:
        raise DatasetError(
            f"{times.size} counting times for {counts.size} counts; each point needs its own. Export the scan again."
        )
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise DatasetError(f"A counting time is {times.min():g} s; each must be above 0. Export the scan again.")
    shortest, longest = float(times.min()), float(times.max())
    if longest - shortest <= SAME_TIME * longest:
        return counts, float(times[0]), False, ()
    note = f"Points were counted for {shortest:g} to {longest:g} s: counts became counts per second."
    return counts / times, None, True, (note,)


def incidence(name: str, two_theta: ScanAxis, angle: Scan) -> dict[str, float | str]:
    """Return the setting that tells how the sample was tilted, as a `Part` has it.

    Args:
        name: Of the angle between beam and sample, as the instrument calls it: Omega, or Theta.
        two_theta: At each point, degrees.
        angle: At each point, degrees.

    Returns:
        The angle where it stood still; its offset from half of 2θ where it moved along; else from where to where.
    """
    offset = angle - two_theta / 2
    if np.ptp(angle) <= SAME_SETTING:
        return {f"{name} (°)": float(angle[0])}
    if np.ptp(offset) <= SAME_SETTING:
        return {f"offset of {name} (°)": round(float(offset[0]), 4)}
    return {f"{name} (°)": f"{angle[0]:g} to {angle[-1]:g}"}


def name_line(
    intended: str, lines: dict[str, float], ratio: float, anode: str = ""
) -> tuple[float | None, tuple[str, ...]]:
    """Return the line that is meant, in Å, and a note which it is; both Kα weighted by their ratio where both are.

    Raises:
        DatasetError: If the ratio is negative, or the anode, where it is named, has other lines.
    """
    if np.isfinite(lines["kAlpha1"]):
        check_anode(anode, lines["kAlpha1"])
    if ratio < 0:
        raise DatasetError(
            f"The intensity of Kα2 over that of Kα1 is {ratio:g}; it can't be negative. Export it again."
        )
    alpha = mean_k_alpha(lines["kAlpha1"], lines["kAlpha2"], ratio)
    known = {"K-Alpha 1": ("Kα1", lines["kAlpha1"]), "K-Beta": ("Kβ", lines["kBeta"]), "K-Alpha": ("mean of Kα", alpha)}
    name, wavelength = known.get(intended, ("", float("nan")))
    return (wavelength, (f"Wavelength {wavelength:.5f} Å, {name}.",)) if np.isfinite(wavelength) else (None, ())


def mean_of_lines(lines: Numbers, weights: Numbers | None) -> tuple[float, tuple[str, ...]]:
    """Return the mean wavelength of a doublet, in Å, and a note that says so; as Kα where no weights are said.

    Raises:
        DatasetError: If the lines are no doublet.
    """
    said = ", ".join(f"{line:g}" for line in lines)
    if lines.size != 2 or np.ptp(lines) > SAME_LINES * lines.max():
        raise DatasetError(f"It has several wavelengths, {said} Å, which are no doublet. Keep the one that was used.")
    if weights is not None and np.isfinite(weights).all() and weights.sum() > 0 and (weights >= 0).all():
        wavelength = float(np.average(lines, weights=weights))
    else:
        wavelength = mean_k_alpha(float(lines.min()), float(lines.max()))
    return wavelength, (f"Wavelength {wavelength:.5f} Å, mean of {said}.",)


def name_anode(anode: str) -> tuple[float | None, tuple[str, ...]]:
    """Return the mean Kα of an anode that a file names without its lines, in Å, and a note that says so."""
    wavelength = line_of_anode(anode)
    if wavelength is None:
        return None, ()
    return wavelength, (
        f"Wavelength {wavelength:.5f} Å, mean of Kα of {anode.strip()}: the file names the anode alone.",
    )


def name_monochromator(name: str, alpha1: float) -> str:
    """Return a note that a monochromator stands before the sample where a file says that both Kα lines were used."""
    return f"{name} stands before the sample; if it passes Kα1 alone, that is {alpha1:.5f} Å."


def open_archive(content: bytes, start: str, *suffixes: str) -> dict[str, bytes]:
    """Unpack the parts of an archive whose folder or name begins with `start`, after a look at the sizes.

    Raises:
        DatasetError: If it is no whole archive, or would unpack to too much.
    """
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
    except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(f"It is no whole archive: {error}. Wait until it is written, or export it again.") from error


def check_archive(members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would unpack to far more than any instrument writes, or that holds a name twice.

    Raises:
        DatasetError: If a part, all parts or their number are too large, or two have one name.
    """
    total, largest = sum(member.file_size for member in members), max((m.file_size for m in members), default=0)
    if len(members) > MAX_PARTS or total > MAX_UNPACKED or largest > MAX_PART:
        raise DatasetError(
            f"It unpacks to {len(members)} parts and {total} bytes, the largest {largest}; at most {MAX_PARTS}, "
            f"{MAX_UNPACKED} and {MAX_PART} are read. Is it a scan or a table?"
        )
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatasetError(f"It holds {twice!r} twice. Export it again.")

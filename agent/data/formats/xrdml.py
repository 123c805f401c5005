"""Malvern Panalytical `.xrdml`."""

from xml.etree.ElementTree import Element

import numpy as np

from glassmap.agent.data.formats.markup import name_line, numbers, parse_xml
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.errors import DatasetError


def _is_xrdml(content: bytes, suffix: str) -> bool:
    return suffix == ".xrdml"


def _read_xrdml(content: bytes, suffix: str) -> list[Part]:
    """Read a file of schema 1.x (intensities, attenuation applied) or 2.x (counts, and the factors to apply)."""
    root = parse_xml(content)
    for element in root.iter():  # schemas differ in their namespace alone
        element.tag = element.tag.rpartition("}")[2]
    measurements = root.findall("xrdMeasurement")
    if len(measurements) != 1:
        raise DatasetError(f"It holds {len(measurements)} measurements; one is expected. Export each alone.")
    measurement = measurements[0]
    for element in (root, measurement, *measurement.findall("scan")):
        if (status := element.get("status", "Completed")) != "Completed":
            raise DatasetError(f"The scan's status is {status!r}, not Completed. Measure it again.")
    scans = [_read_xrdml_scan(scan) for scan in measurement.findall("scan")]
    if not scans:
        raise DatasetError("It holds no scan. Export it again.")
    wavelength, line = _xrdml_wavelength(measurement.find("usedWavelength"))
    sample = root.find("sample")
    name = None if sample is None else (sample.findtext("id") or sample.findtext("name") or "").strip()
    return [part._replace(wavelength=wavelength, sample=name or None, notes=line) for part in scans]


def _read_xrdml_scan(scan: Element) -> Part:
    """Read one scan of the file."""
    points = scan.find("dataPoints")
    values = None if points is None else points.find("intensities")
    counts = None if points is None else points.find("counts")
    if points is None or (values is None and counts is None):
        raise DatasetError("A scan holds neither intensities nor counts. Export it again.")
    intensity = numbers(values if values is not None else counts)
    factors = points.find("beamAttenuationFactors")
    if values is None and factors is not None:
        attenuation = numbers(factors)
        if attenuation.shape != intensity.shape:
            raise DatasetError(
                f"{attenuation.size} attenuation factors for {intensity.size} counts; each needs its own. "
                "Export the scan again."
            )
        intensity = intensity * attenuation
    positions = next((p for p in points.findall("positions") if p.get("axis") == "2Theta"), None)
    if positions is None or positions.get("unit", "deg") != "deg":
        raise DatasetError("A scan over 2Theta in degrees is expected; this one is over another axis.")
    listed = positions.find("listPositions")
    if listed is not None:
        axis = numbers(listed)
    else:
        start, end = (numbers(positions.find(name)) for name in ("startPosition", "endPosition"))
        axis = np.linspace(float(start.item()), float(end.item()), len(intensity))
    time = points.find("commonCountingTime")
    return Part(axis, intensity, seconds=None if time is None else numbers(time).item())


def _xrdml_wavelength(used: Element | None) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength that the file says was used, in Å, and which line that is."""
    if used is None:
        return None, ()
    lines = {name: float(used.findtext(name) or "nan") for name in ("kAlpha1", "kAlpha2", "kBeta")}
    ratio = float(used.findtext("ratioKAlpha2KAlpha1") or "nan")
    return name_line(used.get("intended", ""), lines, ratio)


FORMATS = (Format("Malvern Panalytical xrdml", (".xrdml",), _is_xrdml, _read_xrdml),)

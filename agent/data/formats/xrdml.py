"""Malvern Panalytical `.xrdml`, schemas 1.0 to 2.3.

Schemas 1.x hold `intensities`, which are counts multiplied by the attenuation factors already; 2.x hold `counts` as the
detector saw them, to be multiplied. So say the annotations of the schemas at www.xrdml.com.
"""

from xml.etree.ElementTree import Element

import numpy as np

from glassmap.agent.data.formats.markup import (
    counted,
    incidence,
    name_anode,
    name_line,
    name_monochromator,
    number,
    numbers,
    parse_xml,
)
from glassmap.agent.data.formats.parts import SAME_SETTING, SAME_TEMPERATURE, Format, Part
from glassmap.agent.data.raw_scan import K_ALPHA_RATIO
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Scan, ScanAxis

RATES = ("cps", "counts per second")


def _is_xrdml(content: bytes, suffix: str) -> bool:
    return b"xrdMeasurement" in content[:65536].replace(b"\0", b"")  # also in two bytes a letter


def _read_xrdml(content: bytes, suffix: str) -> list[Part]:
    """Read every scan of every measurement of a file."""
    root = parse_xml(content)
    for element in root.iter():  # schemas differ in their namespace
        element.tag = element.tag.rpartition("}")[2]
    _check_status(root, "file")
    sample = root.find("sample")
    name = None if sample is None else (sample.findtext("id") or sample.findtext("name") or "").strip()
    scans = [(scan, measurement) for measurement in root.findall("xrdMeasurement") for scan in measurement.iter("scan")]
    parts: list[Part] = []
    for place, (scan, measurement) in enumerate(scans, start=1):
        try:
            _check_status(measurement, "measurement")
            parts.append(_read_scan(scan, measurement)._replace(sample=name or None))
        except DatasetError as error:
            raise DatasetError(f"Scan {place} of {len(scans)}: {error}" if len(scans) > 1 else str(error)) from error
    return parts


def _check_status(element: Element, what: str) -> None:
    if (status := element.get("status", "Completed")) != "Completed":
        raise DatasetError(f"The {what}'s status is {status!r}, not Completed. Measure it again.")


def _read_scan(scan: Element, measurement: Element) -> Part:
    """Read one scan, and of its measurement what may differ from those of others."""
    _check_status(scan, "scan")
    points = scan.find("dataPoints")
    values = None if points is None else points.find("intensities")
    counts = None if points is None else points.find("counts")
    given = values if values is not None else counts
    if points is None or given is None:
        raise DatasetError("A scan holds neither intensities nor counts. Export it again.")
    intensity = numbers(given)
    if values is None:
        intensity = intensity * _attenuation(points, intensity.size)
    two_theta, x, y, settings = _positions(points, scan, measurement, intensity.size)
    wavelength, notes = _wavelength(measurement)
    part = Part(two_theta, intensity, wavelength=wavelength, x=x, y=y, settings=settings, notes=notes)
    part = _timed(part, points, scan.get("mode", ""), given.get("unit", "counts"))
    if any(points.find(name) is not None for name in ("divergenceCorrections", "commonDivergenceCorrection")):
        note = "It lists corrections for its divergence slit, which were not applied."
        part = part._replace(notes=(*part.notes, note))
    return part


def _attenuation(points: Element, size: int) -> Scan | float:
    """Return the factors that counts are to be multiplied by."""
    listed, common = points.find("beamAttenuationFactors"), points.find("commonBeamAttenuationFactor")
    if listed is None:
        return 1.0 if common is None else number(common)
    factors = numbers(listed)
    if factors.size != size:
        raise DatasetError(
            f"{factors.size} attenuation factors for {size} counts; each needs its own. Export the scan again."
        )
    return factors


def _timed(part: Part, points: Element, mode: str, unit: str) -> Part:
    """Return a part as counts of one time a point, or as counts per second."""
    listed, common = points.find("countingTimes"), points.find("commonCountingTime")
    for element in (listed, common):
        if element is not None and (said := element.get("unit", "seconds")) != "seconds":
            raise DatasetError(f"Counting times are in {said!r}; seconds are expected. Export the scan again.")
    if unit.lower() in RATES:
        return part._replace(is_rate=True, seconds=None if common is None else number(common))
    if listed is not None:
        intensity, seconds, is_rate, note = counted(part.intensity, numbers(listed))
        return part._replace(intensity=intensity, seconds=seconds, is_rate=is_rate, notes=(*part.notes, *note))
    if mode.lower().startswith("pre-set counts"):
        raise DatasetError(
            "Each point was counted up to a pre-set number, and the file doesn't say for how long (countingTimes). "
            "Export the scan with its counting times."
        )
    if common is None:
        return part
    return part._replace(seconds=counted(part.intensity, np.full(part.intensity.shape, number(common)))[1])


def _positions(
    points: Element, scan: Element, measurement: Element, size: int
) -> tuple[ScanAxis, float | None, float | None, dict[str, float | str]]:
    """Return 2θ at each point, where on the sample it was measured (mm), and what else was set."""
    axes = {str(element.get("axis")): element for element in points.findall("positions")}
    at = {name: _along(name, element, size) for name, element in axes.items()}
    two_theta = at.pop("2Theta", None)
    if two_theta is None or np.ptp(two_theta) == 0:
        moved = [name for name, values in at.items() if np.ptp(values) > 0]
        over = " and ".join(moved or [scan.get("scanAxis", "no axis")])
        stood = "" if two_theta is None else f" at 2θ = {two_theta[0]:g}°"
        raise DatasetError(f"It was scanned over {over}{stood}, no scan over 2θ. Measure one over 2θ.")
    settings: dict[str, float | str] = {}
    place: dict[str, float | None] = {"X": None, "Y": None}
    for name, values in at.items():
        unit = {"deg": "°"}.get(axes[name].get("unit", ""), axes[name].get("unit", ""))
        stands = np.ptp(values) <= SAME_SETTING
        if name == "Omega":
            settings |= incidence(name, two_theta, values)
        elif name in place and stands:
            if unit != "mm":
                raise DatasetError(f"The stage's {name} is in {unit!r}; mm is expected. Export the scan again.")
            place[name] = float(values[0])
        elif name != "Phi" or not _spins(measurement):
            settings[f"{name} ({unit})"] = float(values[0]) if stands else f"{values[0]:g} to {values[-1]:g}"
    for name, source in (("scan axis", scan.get("scanAxis")), ("sample mode", measurement.get("sampleMode"))):
        if source:
            settings[name] = source
    for name, unit in (("tension", "kV"), ("current", "mA")):
        if (said := measurement.find(f"incidentBeamPath/xRayTube/{name}")) is not None:
            settings[f"tube's {name} ({unit})"] = number(said)
    return two_theta, place["X"], place["Y"], settings | _surroundings(scan)


def _along(name: str, element: Element, size: int) -> ScanAxis:
    """Return where an axis was at each point."""
    if name == "2Theta" and (unit := element.get("unit", "deg")) != "deg":
        raise DatasetError(f"2Theta is in {unit!r}; degrees are expected. Export the scan again.")
    listed, common = element.find("listPositions"), element.find("commonPosition")
    if listed is not None:
        values = numbers(listed)
        if values.size != size:
            raise DatasetError(
                f"{values.size} positions of {name} for {size} counts; each needs its own. Export the scan again."
            )
        return values
    if common is not None:
        return np.full(size, number(common))
    return np.linspace(number(element.find("startPosition")), number(element.find("endPosition")), size)


def _spins(measurement: Element) -> bool:
    """Return whether the sample turned all the time, so that Phi says nothing."""
    movement = measurement.find("sampleMovement")
    return movement is not None and any("spinning" in value.lower() for value in movement.attrib.values())


def _surroundings(scan: Element) -> dict[str, float | str]:
    """Return temperature in K and what else surrounded the sample, as means over the scan."""
    found: dict[str, float | str] = {}
    for element in scan.iter("nonAmbientPoints"):
        kind = element.get("type", "Temperature")
        values = numbers(element.find("nonAmbientValues"))
        name = "temperature (K)" if kind == "Temperature" else kind.lower()
        drifts = kind == "Temperature" and np.ptp(values) > SAME_TEMPERATURE
        found[name] = f"{values[0]:g} to {values[-1]:g}" if drifts else float(values.mean())
    return found


def _wavelength(measurement: Element) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength that the file says was used, in Å, and a note which line that is."""
    used = measurement.find("usedWavelength")
    anode = measurement.findtext("incidentBeamPath/xRayTube/anodeMaterial", "")
    if used is None or used.find("kAlpha1") is None:
        return name_anode(anode)
    lines = {name: _angstrom(used.find(name)) for name in ("kAlpha1", "kAlpha2", "kBeta")}
    said = used.find("ratioKAlpha2KAlpha1")
    ratio = K_ALPHA_RATIO if said is None or not (said.text or "").strip() else number(said)
    both = np.isfinite(lines["kAlpha2"]) and ratio > 0
    intended = used.get("intended", "K-Alpha" if both else "K-Alpha 1")
    wavelength, notes = name_line(intended, lines, ratio, anode)
    monochromator = measurement.find("incidentBeamPath/monochromator")
    if intended == "K-Alpha" and both and monochromator is not None:
        notes = (*notes, name_monochromator(monochromator.get("name", "A monochromator"), lines["kAlpha1"]))
    return wavelength, notes


def _angstrom(element: Element | None) -> float:
    """Return a wavelength in Å, NaN where it isn't said."""
    if element is None or not (element.text or "").strip():
        return float("nan")
    if (unit := element.get("unit", "Angstrom")) != "Angstrom":
        raise DatasetError(f"A wavelength is in {unit!r}; Angstrom is expected. Export the scan again.")
    return number(element)


FORMATS = (Format("Malvern Panalytical xrdml", (".xrdml",), _is_xrdml, _read_xrdml),)

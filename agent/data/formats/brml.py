"""Bruker `.brml`: an archive of XML.

`Experiment*/DataContainer.xml` names the sample and lists the scans, each of which is a `RawData*.xml` with one or more
routes of data. What the columns of a route are stands in its `DataViews`. Counts are stored with the absorber's factor
applied already: where it changes, the stored counts run on evenly, and divided by it they are whole numbers.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from glassmap.agent.data.formats.markup import (
    counted,
    incidence,
    name_anode,
    name_line,
    name_monochromator,
    number,
    open_archive,
    parse_numbers,
    parse_xml,
)
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import K_ALPHA_RATIO
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import PerPoint, Scan, ScanAxis, Scans

NO_NAME = "commander sample id"  # what stands where nobody named the sample
NOT_MEASURED = -9999  # the counts of a point that wasn't
SAME_ANGLE = 2e-3  # degrees; points are printed with three or four decimals
RATES = ("cps", "countspersecond")
MONOCHROMATORS = ("channelcut", "monochromator", "johansson")
_BETWEEN = re.compile(rb"</Datum>\s*<Datum>")
_DIGITS = re.compile(r"(\d+)")


class _View(NamedTuple):
    """What some columns of a route are."""

    start: int
    length: int
    element: Element


class _Scan(NamedTuple):
    """A route of one scan, and what its file says of all of its routes."""

    route: Element
    columns: Scans  # shape (columns, points)
    views: list[_View]
    drives: dict[str, tuple[float, str]]  # that stood still: position and unit

    def fixed(self, name: str) -> PerPoint | None:
        """Return the column that is called so."""
        view = next((view for view in self.views if view.element.get("LogicName") == name), None)
        return None if view is None else self.columns[view.start]


def _is_brml(content: bytes, suffix: str) -> bool:
    return content.startswith(b"PK")


def _read_brml(content: bytes, suffix: str) -> list[Part]:
    """Read every scan of an archive."""
    files = open_archive(content, "RawData", ".xml")
    files = {name: data for name, data in files.items() if name.rpartition("/")[2].startswith("RawData")}
    containers = {name: parse_xml(data) for name, data in open_archive(content, "DataContainer", ".xml").items()}
    listed = list(
        dict.fromkeys(
            (entry.text or "").strip().replace("\\", "/")
            for name in sorted(containers, key=_by_number)
            for entry in containers[name].iterfind("RawDataReferenceList/string")
        )
    )
    if listed and (others := set(listed) ^ set(files)):
        named = ", ".join(sorted(others)[:3])
        raise DatasetError(f"The scans it lists (DataContainer) and those it holds differ in {named}. Export it again.")
    parts: list[Part] = []
    for name in listed or sorted(files, key=_by_number):
        try:
            container = containers.get(f"{name.rpartition('/')[0]}/DataContainer.xml")
            parts += _read_scans(parse_xml(_BETWEEN.sub(b";", files[name])), container)
        except DatasetError as error:
            raise DatasetError(f"{name}: {error}" if len(files) > 1 else str(error)) from error
    if parts and any(part.wavelength is None for part in parts):
        found = _wavelength_of_setup(open_archive(content, "MeasurementContainer", ".xml"))
        if found is not None:
            note = f"Wavelength {found:.5f} Å, as the instrument's setup has it."
            parts = [p if p.wavelength else p._replace(wavelength=found, notes=(*p.notes, note)) for p in parts]
    return parts


def _by_number(name: str) -> list[str | int]:
    return [int(piece) if piece.isdecimal() else piece for piece in _DIGITS.split(name)]


def _read_scans(root: Element, container: Element | None) -> Iterator[Part]:
    """Read the routes of one scan that were measured, or what the program made of them where those are pictures."""
    if (status := root.findtext("MeasurementStatus", "Measured")) != "Measured":
        raise DatasetError(f"The scan's status is {status!r}, not Measured. Measure it again.")
    routes = [route for route in root.findall("DataRoutes/DataRoute") or [root] if _is_of_scan(route)]
    measured = [route for route in routes if route.get("RouteFlag", "Measured") == "Measured"]
    made = [route for route in routes if route not in measured][-1:]
    wavelength, notes = _wavelength(root)
    for route in [route for route in measured if _channels(route) == 1] or made or measured:
        part = _read_route(route, root)
        if route in made:
            notes = (*notes, f"Intensities as the instrument's program made them (route {route.get('RouteFlag')}).")
        yield part._replace(wavelength=wavelength, sample=_sample(root, container), notes=(*notes, *part.notes))


def _is_of_scan(route: Element) -> bool:
    """Return whether a route isn't the log of a heating stage."""
    scan = route.find("ScanInformation")
    return scan is None or "NonAmbientModeData" not in scan.get("ScanName", "")


def _channels(route: Element) -> int:
    """Return how many channels of the detector each point has; 1 where it is a count."""
    return max((view.length for view in _views(route) if view.element.find("Recording") is not None), default=1)


def _read_route(route: Element, root: Element) -> Part:
    if (channels := _channels(route)) > 1:
        raise DatasetError(
            f"Each of its points is a picture of {channels} channels of the detector, no count. Export the scan as "
            "intensities over 2θ."
        )
    scan = _Scan(route, _columns(route), _views(route), _drives(root))
    if any(view.start < 0 or view.length < 1 or view.start + view.length > len(scan.columns) for view in scan.views):
        raise DatasetError(
            f"Its DataViews name more than the {len(scan.columns)} columns that it has. Export it again."
        )
    counts, settings, is_rate = _counts(scan)
    two_theta, notes = _two_theta(scan)
    place = {name: scan.drives.pop(name, (None, "mm")) for name in ("X", "Y")}
    for name, (_, unit) in place.items():
        if unit != "mm":
            raise DatasetError(f"The stage's {name} is in {unit!r}; mm is expected. Export the scan again.")
    theta = _column(scan, "Theta")
    theta = _planned(scan, "Theta") if theta is None else theta
    if theta is None and "Theta" in scan.drives:
        theta = np.full(two_theta.shape, scan.drives["Theta"][0])
    if theta is not None:
        settings |= incidence("Theta", two_theta, theta)
    others = {name: at for name, at in scan.drives.items() if name not in ("Theta", "TwoTheta")}
    settings |= {f"{name} ({unit})": position for name, (position, unit) in others.items()}
    settings |= _surroundings(scan, root)
    part = Part(two_theta, counts, x=place["X"][0], y=place["Y"][0], is_rate=is_rate, settings=settings, notes=notes)
    times = _times(scan)
    if is_rate or times is None:
        return part
    intensity, seconds, is_rate, note = counted(counts, times)
    return part._replace(intensity=intensity, seconds=seconds, is_rate=is_rate, notes=(*notes, *note))


def _columns(route: Element) -> Scans:
    """Return the columns of a route, shape (columns, points)."""
    rows = ";".join(datum.text or "" for datum in route.iterfind("Datum")).split(";")
    promised = route.findtext("ScanInformation/MeasurementPoints", str(len(rows))).strip()
    if len(rows) < 2 or promised != str(len(rows)):
        raise DatasetError(
            f"It holds {len(rows) if rows[0] else 0} points where {promised} were to be measured. Measure it again."
        )
    widths = {row.count(",") + 1 for row in rows}
    if len(widths) > 1:
        raise DatasetError(f"Its points have {min(widths)} to {max(widths)} values; all need as many. Export it again.")
    return parse_numbers(",".join(rows).split(",")).reshape(len(rows), -1).T


def _views(route: Element) -> list[_View]:
    try:
        return [
            _View(int(element.get("Start", "")), int(element.get("Length", "")), element)
            for element in route.iterfind("DataViews/RawDataView")
        ]
    except ValueError as error:
        raise DatasetError(f"Its DataViews don't say which columns they are: {error}. Export it again.") from error


def _counts(scan: _Scan) -> tuple[Scan, dict[str, float | str], bool]:
    """Return what the detector counted, which detector it was, and whether it is a rate."""
    recorded = [(view, record) for view in scan.views if (record := view.element.find("Recording")) is not None]
    counters = [(view, record) for view, record in recorded if _counts_photons(record)]
    if not counters and len(recorded) == 1:
        counters = recorded
    if len(counters) != 1:
        names = ", ".join(_called(record) for _, record in counters) or "none"
        raise DatasetError(f"One counter is expected, it has {len(counters)} ({names}). Export the one that is meant.")
    view, record = counters[0]
    counts = scan.columns[view.start]
    if (counts == NOT_MEASURED).any():
        raise DatasetError(
            f"Point {int(np.argmax(counts == NOT_MEASURED)) + 1} wasn't measured. Measure the scan again."
        )
    return counts, {"detector": _called(record)}, _unit(record) in RATES


def _counts_photons(record: Element) -> bool:
    return (
        record.get("Category") == "Count"
        or "counter" in record.get("LogicName", "").lower()
        or _unit(record) in ("counts", *RATES)
    )


def _unit(record: Element) -> str:
    unit = record.find("Unit")
    return "" if unit is None else unit.get("Base", "").lower()


def _called(element: Element) -> str:
    return element.get("VisibleName") or element.get("LogicName") or element.get("AxisName") or "without a name"


def _two_theta(scan: _Scan) -> tuple[ScanAxis, tuple[str, ...]]:
    """Return 2θ in degrees at each point: to all digits of the scan's range where the points agree with it."""
    column, planned = _column(scan, "TwoTheta"), _planned(scan, "TwoTheta")
    found = planned if column is None else column
    if found is None or np.ptp(found) == 0:
        axes = scan.route.iterfind("ScanInformation/ScanAxes/ScanAxisInfo")
        over = " and ".join(_called(axis) for axis in axes) or "no axis"
        stands = scan.drives.get("TwoTheta", (None, ""))[0] if found is None else float(found[0])
        stood = "" if stands is None else f" at 2θ = {stands:g}°"
        raise DatasetError(f"It was scanned over {over}{stood}, no scan over 2θ. Measure one over 2θ.")
    if planned is None:
        return found, ()
    said = f"{planned[0]:g} to {planned[-1]:g}°"
    columns = [column] if column is not None else [each for each, _ in _moved(scan)]
    if any(np.allclose(planned, each, rtol=0, atol=SAME_ANGLE) for each in columns) or not columns:
        return planned, ()
    if column is None:
        raise DatasetError(f"None of its columns is 2θ from {said}, which its range is. Export it again.")
    return found, (f"2θ of the points, {found[0]:g} to {found[-1]:g}°, was taken; the range says {said}.",)


def _moved(scan: _Scan) -> Iterator[tuple[PerPoint, tuple[str, ...]]]:
    """Return each column of axes that moved, and what the file calls it, if anything."""
    for view in scan.views:
        if view.element.find("Varying") is not None:
            fields = view.element.findall("Varying/FieldDefinitions")
            for offset in range(view.length):
                said = fields[offset].attrib if offset < len(fields) else {}
                names = (said.get("AxisId", ""), said.get("FieldName", "").strip())
                yield scan.columns[view.start + offset], names


def _column(scan: _Scan, name: str) -> PerPoint | None:
    """Return the column of an axis that the file calls so."""
    return next((column for column, names in _moved(scan) if name in names), None)


def _planned(scan: _Scan, name: str) -> ScanAxis | None:
    """Return where an axis was to be at each point, as the scan's range has it, in degrees."""
    axes = scan.route.iterfind("ScanInformation/ScanAxes/ScanAxisInfo")
    axis = next((axis for axis in axes if name in (axis.get("AxisId"), axis.get("AxisName"))), None)
    if axis is None:
        return None
    unit = axis.find("Unit")
    said = axis.get("Unit", "°") if unit is None else unit.get("Base", "Degree")
    if said not in ("°", "Degree"):
        raise DatasetError(f"{name} is in {said!r}; degrees are expected. Export the scan again.")
    reference = axis.find("Reference")
    zero = 0.0 if reference is None else number(reference)
    return np.linspace(zero + number(axis.find("Start")), zero + number(axis.find("Stop")), scan.columns.shape[1])


def _times(scan: _Scan) -> PerPoint | None:
    """Return how long each point was counted: as it was measured, or as its part of the scan was planned."""
    size = scan.columns.shape[1]
    measured, planned = scan.fixed("MeasuredTime"), np.full(size, np.nan)
    for part in scan.route.iterfind("SubScans/SubScanInfo"):
        start, steps, time = (
            parse_numbers([part.get(name) or part.get(other, "")])[0]
            for name, other in (
                ("StartStepNo", ""),
                ("MeasuredSteps", "Steps"),
                ("MeasuredTimePerStep", "PlannedTimePerStep"),
            )
        )
        planned[int(start) : int(start) + int(steps)] = time
    if np.isnan(planned).any():
        return measured
    if measured is None or (np.ptp(measured) == 0 and np.ptp(planned) > 0):
        return planned
    ratio = measured / planned
    if np.ptp(planned) > 0 and np.ptp(ratio) > 0.05 * ratio.max():
        raise DatasetError(
            "The times that its points were counted (MeasuredTime) and those of its parts (SubScans) contradict each "
            "other. Export the scan again."
        )
    return measured


def _drives(root: Element) -> dict[str, tuple[float, str]]:
    """Return the position and unit of each drive that stood still; a sample that turns has no angle to tell."""
    turns = {
        drive.get("AxisId")
        for element in root.iterfind("FixedInformation/Unspecifics/InfoData")
        if (speed := element.find("RotationSpeed")) is not None and speed.get("Value", "0").strip("-0.") != ""
        for drive in element.iterfind("PluggedDrives/DriveInfo")
    }
    found: dict[str, tuple[float, str]] = {}
    for drive in root.iterfind("FixedInformation/Drives/InfoData"):
        axis, position = drive.get("AxisId", "None"), drive.find("Position")
        name = drive.get("LogicName", "") if axis == "None" else axis
        if position is not None and name not in turns:
            unit = {"deg": "°"}.get(position.get("Unit", ""), position.get("Unit", ""))
            found[name] = (float(parse_numbers([position.get("Value", "")])[0]), unit)
    return found


def _surroundings(scan: _Scan, root: Element) -> dict[str, float | str]:
    """Return the type of the scan, the tube's power, and temperatures as they were recorded or set."""
    information = scan.route.find("ScanInformation")
    found: dict[str, float | str] = {}
    if information is not None and (name := information.get("ScanName") or information.get("VisibleName")):
        found["scan type"] = name
    for view in scan.views:
        record = view.element.find("Recording")
        if record is not None and "temp" in record.get("LogicName", "").lower():
            found[f"temperature, {_called(record)}"] = float(scan.columns[view.start].mean())
    for element in root.iterfind("FixedInformation/Instrument/PrimaryTracks//Tube/Generator/*[@Value]"):
        if element.tag in ("Voltage", "Current"):
            power = float(parse_numbers([element.get("Value", "")])[0])
            found[f"tube's {element.tag.lower()} ({element.get('Unit', '')})"] = power
    for element in root.iterfind("FixedInformation/NonAmbients//*[@Value]"):
        if "temp" in element.tag.lower():
            found[f"temperature ({element.get('Unit', '')})"] = float(parse_numbers([element.get("Value", "")])[0])
    return found


def _sample(root: Element, container: Element | None) -> str | None:
    """Return what the sample is called, in the scan's own file or in the list of scans."""
    items = root.iterfind("FixedInformation/MethodInformation/InfoData/InfoList/InfoItem[@Name='SampleName']")
    names = [item.get("Value", "") for item in items]
    if container is not None:
        names += [element.get("SampleName", "") for element in container.iterfind(".//*[@SampleName]")]
        names += [element.text or "" for element in container.iterfind(".//SampleName")]
        names += [element.get("Name", "") for element in container.iterfind(".//SampleInfo")]
    return next((name.strip() for name in names if name.strip().lower() not in ("", NO_NAME)), None)


def _wavelength(root: Element) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength of the tube in Å, and a note which line that is."""
    tube = next(root.iter("Tube"), None)
    if tube is None:
        return None, ()
    said = {name: _angstrom(tube.find(f"WaveLength{name}")) for name in ("Alpha1", "Alpha2", "Average", "Beta")}
    ratio_said = tube.find("WaveLengthRatio")
    ratio = K_ALPHA_RATIO if ratio_said is None else float(parse_numbers([ratio_said.get("Value", "")])[0])
    if not np.isfinite(said["Alpha1"]):
        if np.isfinite(said["Average"]):
            return said["Average"], (f"Wavelength {said['Average']:.5f} Å, mean of Kα.",)
        return name_anode(tube.findtext("TubeMaterial", ""))
    lines = {"kAlpha1": said["Alpha1"], "kAlpha2": said["Alpha2"], "kBeta": said["Beta"]}
    both = ratio > 0 and said["Alpha2"] > 0
    wavelength, notes = name_line("K-Alpha" if both else "K-Alpha 1", lines, ratio, tube.findtext("TubeMaterial", ""))
    optics = root.iterfind("FixedInformation/Instrument/PrimaryTracks//MountedOptics/InfoData")
    for optic in optics if both else ():
        names = " ".join(value for element in optic.iter() for value in element.attrib.values())
        if any(word in names.lower() for word in MONOCHROMATORS):
            return wavelength, (*notes, name_monochromator(_called(optic), said["Alpha1"]))
    return wavelength, notes


def _angstrom(element: Element | None) -> float:
    """Return a wavelength in Å, NaN where it isn't said, or as 0."""
    if element is None or element.get("Value", "").strip(" 0.-") == "":
        return float("nan")
    if (unit := element.get("Unit", "Å")) not in ("Å", "A", "Angstrom"):
        raise DatasetError(f"A wavelength is in {unit!r}; Å is expected. Export the scan again.")
    return float(parse_numbers([element.get("Value", "")])[0])


def _wavelength_of_setup(setup: dict[str, bytes]) -> float | None:
    """Return the mean Kα in Å of the one tube that the setup of the instrument names, which some scans leave out."""
    lines = [
        {
            float(value)
            for content in setup.values()
            for value in re.findall(tag + rb'\b[^>]*\bValue="([0-9]+[.]?[0-9]*)"', content)
        }
        for tag in (rb"<WaveLengthAlpha1", rb"<WaveLengthAlpha2", rb"<WaveLengthRatio")
    ]
    if any(len(found) != 1 for found in lines):
        return None
    alpha1, alpha2, ratio = (found.pop() for found in lines)
    return name_line("K-Alpha", {"kAlpha1": alpha1, "kAlpha2": alpha2, "kBeta": 0.0}, ratio)[0]


FORMATS = (Format("Bruker brml", (".brml",), _is_brml, _read_brml),)

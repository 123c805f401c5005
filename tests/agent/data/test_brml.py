"""Bruker .brml: every scan of the archive, its columns by what the file calls them, with its place and its times."""

import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_scans
from glassmap.agent.errors import GlassmapError

TWO_THETA = np.arange(20.0, 61.0)
PEAK = np.round(100 + 900 * np.exp(-(((TWO_THETA - 40) / 5) ** 2)))
KALPHA = (1.5406 + 0.5 * 1.54439) / 1.5
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
TUBE = (
    '<Tube><WaveLengthAlpha1 Unit="Å" Value="1.5406"/><WaveLengthAlpha2 Unit="Å" Value="1.54439"/>'
    '<WaveLengthAverage Unit="Å" Value="1.5418"/><WaveLengthRatio Unit="" Value="0.5"/>'
    "<TubeMaterial>Cu</TubeMaterial></Tube>"
)
FIELDS = ("TwoTheta", "Theta")


def scan_axis(name: str, start: float, stop: float, reference: float = 0) -> str:
    return (
        f'<ScanAxisInfo AxisId="{name}" AxisName="{name}"><Unit Base="Degree"/><Reference>{reference}</Reference>'
        f"<Start>{start}</Start><Stop>{stop}</Stop></ScanAxisInfo>"
    )


def counter(start: int, length: int = 1, name: str = "ScanCounter1", unit: str = "Counts") -> str:
    return (
        f'<RawDataView xsi:type="RecordedRawDataView" Start="{start}" Length="{length}">'
        f'<Recording LogicName="{name}" VisibleName="{name}"><Unit Base="{unit}"/></Recording></RawDataView>'
    )


def route(
    counts: np.ndarray = PEAK,
    *,
    two_theta: np.ndarray = TWO_THETA,
    theta: np.ndarray | None = None,
    times: np.ndarray | float = 1.0,
    absorption: float = 1.0,
    points: int | None = None,
    axes: str | None = None,
    fields: tuple[str, ...] = FIELDS,
    recorded: str | None = None,
    subscans: str = "",
    flag: str = "Measured",
    name: str = "LockedCoupled",
    more: np.ndarray | None = None,
) -> str:
    """A route of data; its columns are time, absorption, the scanned axes, whatever is recorded besides, and counts."""
    theta = two_theta / 2 if theta is None else theta
    columns = [np.broadcast_to(times, counts.shape), np.full(counts.shape, absorption), two_theta, theta, counts]
    if more is not None:
        columns.append(more)
    rows = "".join(f"<Datum>{','.join(f'{value:.10g}' for value in row)}</Datum>\n" for row in np.array(columns).T)
    axes = scan_axis("TwoTheta", two_theta[0], two_theta[-1]) if axes is None else axes
    defined = "".join(f'<FieldDefinitions FieldName="{field}" AxisId="{field}"/>' for field in fields)
    return (
        f'<DataRoute RouteFlag="{flag}"><ScanInformation ScanName="{name}">'
        f"<MeasurementPoints>{len(counts) if points is None else points}</MeasurementPoints>"
        f"<ScanAxes>{axes}</ScanAxes></ScanInformation><SubScans>{subscans}</SubScans>{rows}<DataViews>"
        '<RawDataView xsi:type="FixedRawDataView" Start="0" Length="1" LogicName="MeasuredTime"/>'
        '<RawDataView xsi:type="FixedRawDataView" Start="1" Length="1" LogicName="AbsorptionFactor"/>'
        f'<RawDataView xsi:type="VaryingRawDataView" Start="2" Length="2"><Varying>{defined}</Varying></RawDataView>'
        f"{counter(4) if recorded is None else recorded}</DataViews></DataRoute>"
    )


def drive(name: str, position: float, unit: str = "°") -> str:
    return f'<InfoData LogicName="{name}" AxisId="{name}"><Position Unit="{unit}" Value="{position}"/></InfoData>'


def raw_data(
    *routes: str,
    drives: str = "<Drives />",
    tube: str = TUBE,
    status: str = "Measured",
    fixed: str = "",
    optics: str = "",
) -> str:
    mounted = f'<InfoData xsi:type="TubeMountInfoData">{tube}</InfoData>{optics}'
    tracks = f"<PrimaryTracks><TrackInfoData><MountedOptics>{mounted}</MountedOptics></TrackInfoData></PrimaryTracks>"
    return (
        f'<?xml version="1.0"?><RawData {XSI}><MeasurementStatus>{status}</MeasurementStatus>'
        f"<DataRoutes>{''.join(routes)}</DataRoutes>"
        f"<FixedInformation>{drives}{fixed}<Instrument>{tracks}</Instrument></FixedInformation></RawData>"
    )


def container(*names: str, info: str = "") -> str:
    listed = "".join(f"<string>{name}</string>" for name in names)
    return f"<DataContainer><RawDataReferenceList>{listed}</RawDataReferenceList>{info}</DataContainer>"


def archive(*scans: str, info: str = "", others: dict[str, str] | None = None) -> bytes:
    names = [f"Experiment0/RawData{k}.xml" for k in range(len(scans))]
    parts = dict(zip(names, scans, strict=True)) | {"Experiment0/DataContainer.xml": container(*names, info=info)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name, text in (parts | (others or {})).items():
            new.writestr(name, text)
    return packed.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes) -> list[RawScan]:
        path = tmp_path / "scan.brml"
        path.write_bytes(content)
        return read_scans(path)

    return read


def places(x: float, y: float) -> str:
    """Drives whose names are the stage's, and whose axes are X and Y."""
    at_x, at_y = (
        drive(name, place, "mm").replace("LogicName", "LogicName='Stage' VisibleName")
        for name, place in (("X", x), ("Y", y))
    )
    return f"<Drives>{at_x}{at_y}</Drives>"


# --- one scan


@pytest.mark.parametrize("drives", ["<Drives />", "", f"<Drives>{drive('Phi', 0)}</Drives>"])
def test_a_bench_top_instrument_without_drives_is_read(read, drives: str):
    [found] = read(archive(raw_data(route(), drives=drives)))
    np.testing.assert_array_equal(found.axis, TWO_THETA)
    np.testing.assert_array_equal(found.intensity, PEAK)
    assert (found.axis_name, found.wavelength) == ("two_theta", pytest.approx(KALPHA))
    assert (found.x, found.y, found.sample) == (None, None, None)


@pytest.mark.parametrize("fields", [FIELDS, FIELDS[::-1], ()])
def test_columns_are_what_the_file_calls_them_or_what_its_range_agrees_with(read, fields: tuple[str, ...]):
    swapped = fields == FIELDS[::-1]
    data = route(two_theta=TWO_THETA / 2, theta=TWO_THETA, axes=scan_axis("TwoTheta", 20, 60), fields=fields)
    if not swapped:
        data = route(fields=fields)
    [found] = read(archive(raw_data(data)))
    np.testing.assert_array_equal(found.axis, TWO_THETA)


def test_a_range_that_no_column_agrees_with_is_refused(read):
    with pytest.raises(GlassmapError, match="None of its columns is 2θ from 30 to 70°"):
        read(archive(raw_data(route(fields=(), axes=scan_axis("TwoTheta", 30, 70)))))


def test_points_that_leave_their_range_are_taken_and_that_is_said(read):
    [found] = read(archive(raw_data(route(two_theta=TWO_THETA**1.02, axes=scan_axis("TwoTheta", 20, 60)))))
    np.testing.assert_allclose(found.axis, TWO_THETA**1.02, rtol=1e-8)
    assert any("the range says 20 to 60°" in note for note in found.notes)


def test_a_range_about_a_reference_is_read(read):
    [found] = read(archive(raw_data(route(axes=scan_axis("TwoTheta", -20, 20, reference=40)))))
    np.testing.assert_array_equal(found.axis, TWO_THETA)


def test_counts_are_stored_with_the_absorbers_factor(read):
    [found] = read(archive(raw_data(route(absorption=8.3))))
    np.testing.assert_array_equal(found.intensity, PEAK)


def test_an_older_file_without_routes_is_read(read):
    text = raw_data(route())
    for tag in ("<DataRoutes>", "</DataRoutes>", '<DataRoute RouteFlag="Measured">', "</DataRoute>"):
        text = text.replace(tag, "")
    [found] = read(archive(text))
    np.testing.assert_array_equal(found.intensity, PEAK)


# --- how long was counted


def test_measured_times_that_differ_make_a_rate(read):
    times = np.where(TWO_THETA < 40, 1.0, 4.0)
    [found] = read(archive(raw_data(route(PEAK * times, times=times))))
    np.testing.assert_allclose(found.intensity, PEAK)
    assert "Points were counted for 1 to 4 s: counts became counts per second." in found.notes


def test_one_effective_time_of_all_channels_leaves_counts_as_they_are(read):
    sub = '<SubScanInfo MeasuredSteps="41" StartStepNo="0" MeasuredTimePerStep="260" PlannedTimePerStep="2"/>'
    [found] = read(archive(raw_data(route(times=260.0, subscans=sub))))
    np.testing.assert_array_equal(found.intensity, PEAK)


def subscans(*said: tuple[int, int, float]) -> str:
    return "".join(
        f'<SubScanInfo Steps="{steps}" MeasuredSteps="{steps}" StartStepNo="{start}" PlannedTimePerStep="{time}"/>'
        for start, steps, time in said
    )


def test_parts_of_a_scan_that_were_planned_with_other_times_make_a_rate(read):
    times = np.where(TWO_THETA < 40, 1.0, 4.0)
    parts = subscans((0, 20, 1.0), (20, 21, 4.0))
    for measured in (1.0, times, 100 * times):
        [found] = read(archive(raw_data(route(PEAK * times, times=measured, subscans=parts))))
        np.testing.assert_allclose(found.intensity / found.intensity[0], PEAK / PEAK[0])
    with pytest.raises(GlassmapError, match="contradict each other"):
        read(archive(raw_data(route(times=times[::-1].copy(), subscans=parts))))


def test_counts_a_second_are_a_rate_already(read):
    times = np.where(TWO_THETA < 40, 1.0, 4.0)
    [found] = read(archive(raw_data(route(times=times, recorded=counter(4, unit="CountsPerSecond")))))
    np.testing.assert_array_equal(found.intensity, PEAK)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (route(points=50), "holds 41 points where 50 were to be measured"),
        (route(np.where(TWO_THETA == 22, -9999, PEAK)), "Point 3 wasn't measured"),
        (route(times=np.where(TWO_THETA == 22, 0.0, 1.0)), "counting time is 0 s"),
        (route(recorded=counter(4, 1280)), "picture of 1280 channels"),
        (route(recorded=counter(9)), "name more than the 5 columns"),
        (route(recorded=counter(3) + counter(4, name="ScanCounter2")), r"2 \(ScanCounter1, ScanCounter2\)"),
        (route(recorded="<RawDataView/>"), "don't say which columns"),
        (route(recorded=""), "has 0 (none)".replace("(", r"\(").replace(")", r"\)")),
        (route().replace("<Datum>1,1,22,", "<Datum>1,22,"), "4 to 5 values"),
        (route().replace("<Datum>1,1,22,", "<Datum>1,x,22,"), "could not convert"),
        (route().replace("<Datum>1,1,22,", "<Datum>1,,22,"), "could not convert"),
        ("<DataRoute/>", "holds 0 points"),
    ],
)
def test_what_is_no_whole_scan_is_refused(read, data: str, said: str):
    with pytest.raises(GlassmapError, match=said):
        read(archive(raw_data(data)))


def test_a_scan_that_was_stopped_is_refused(read):
    with pytest.raises(GlassmapError, match="status is 'Aborted', not Measured"):
        read(archive(raw_data(route(), status="Aborted")))


def test_a_rocking_curve_is_refused_by_what_it_is(read):
    data = route(two_theta=np.full(41, 40.0), theta=TWO_THETA / 2, axes=scan_axis("Theta", 10, 30))
    with pytest.raises(GlassmapError, match="scanned over Theta at 2θ = 40°, no scan over 2θ"):
        read(archive(raw_data(data)))
    data = data.replace('FieldName="TwoTheta" AxisId="TwoTheta"', 'FieldName="Chi"')
    with pytest.raises(GlassmapError, match=r"scanned over Theta at 2θ = 41\.5°, no scan over 2θ"):
        read(archive(raw_data(data, drives=f"<Drives>{drive('TwoTheta', 41.5)}</Drives>")))


# --- several scans


def test_a_map_is_a_scan_for_each_place(read):
    at = [(2.0 * (k % 21) - 20, 2.0 * (k // 21) - 20) for k in range(441)]
    content = archive(
        *(raw_data(route(PEAK + k), drives=places(*place)) for k, place in enumerate(at)),
        info='<MeasurementInfo SampleName="W7"/>',
    )
    start = time.process_time()
    found = read(content)
    assert time.process_time() - start < 2
    assert [(one.x, one.y) for one in found] == at
    assert [one.intensity[0] for one in found] == [100 + k for k in range(441)]
    assert {one.sample for one in found} == {"W7"}


def test_scans_come_in_the_order_of_their_list_whatever_the_archives(read):
    scans = [raw_data(route(PEAK + k), drives=places(k, 0)) for k in range(12)]
    names = [f"Experiment0/RawData{k}.xml" for k in range(12)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as new:
        for name, text in sorted(zip(names, scans, strict=True)):  # RawData10 before RawData2
            new.writestr(name, text)
    assert [one.x for one in read(packed.getvalue())] == list(range(12))


def test_experiments_have_samples_of_their_own(read):
    others = {
        "Experiment1/RawData0.xml": raw_data(route(PEAK + 1)),
        "Experiment1/DataContainer.xml": container("Experiment1\\RawData0.xml", info='<SampleInfo SampleName="b"/>'),
    }
    found = read(archive(raw_data(route()), info='<MeasurementInfo SampleName="a"/>', others=others))
    assert [(one.name, one.sample, one.intensity[0]) for one in found] == [("a", "a", 100), ("b", "b", 101)]


def test_a_list_of_scans_that_are_not_there_is_refused(read):
    info = container("Experiment0/RawData0.xml", "Experiment0/RawData1.xml")
    with pytest.raises(GlassmapError, match=r"differ in Experiment0/RawData1\.xml"):
        read(archive(raw_data(route()), others={"Experiment0/DataContainer.xml": info}))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"drives": f"<Drives>{drive('Chi', 0)}</Drives>"}, {"drives": f"<Drives>{drive('Chi', 5)}</Drives>"}, "Chi"),
        ({"drives": f"<Drives>{drive('Z', 1, 'mm')}</Drives>"}, {}, r"Z \(mm\): 1, not said"),
        ({}, {"tube": TUBE.replace('Value="0.5"', 'Value="0"')}, "wavelength"),
        (
            {"tube": TUBE.replace("</Tube>", '<Generator><Current Unit="mA" Value="40"/></Generator></Tube>')},
            {"tube": TUBE.replace("</Tube>", '<Generator><Current Unit="mA" Value="10"/></Generator></Tube>')},
            r"tube's current \(mA\): 40, 10",
        ),
        (
            {"fixed": '<NonAmbients><InfoData><Temperature Unit="°C" Value="25"/></InfoData></NonAmbients>'},
            {"fixed": '<NonAmbients><InfoData><Temperature Unit="°C" Value="300"/></InfoData></NonAmbients>'},
            r"temperature \(°C\): 25, 300",
        ),
    ],
)
def test_scans_of_one_place_that_differ_in_what_was_set_are_refused(read, first: dict, second: dict, said: str):
    with pytest.raises(GlassmapError, match=f"differ in {said}"):
        read(archive(raw_data(route(), **first), raw_data(route(), **second)))


def test_scans_of_other_incidence_or_recorded_temperature_are_refused(read):
    tilted = route(theta=TWO_THETA / 2 + 1, axes=scan_axis("TwoTheta", 20, 60) + scan_axis("Theta", 11, 31))
    level = route(axes=scan_axis("TwoTheta", 20, 60) + scan_axis("Theta", 10, 30))
    with pytest.raises(GlassmapError, match=r"offset of Theta \(°\): 0, 1"):
        read(archive(raw_data(level), raw_data(tilted)))
    recorded = counter(4) + counter(5, name="modeActualTemp", unit="DegreeCelsius")
    heated = [route(recorded=recorded, more=np.full(41, t)) for t in (25.0, 400.0)]
    with pytest.raises(GlassmapError, match="temperature, modeActualTemp: 25, 400"):
        read(archive(*map(raw_data, heated)))


def test_repeats_are_summed_though_the_sample_spins(read):
    spins = (
        '<Unspecifics><InfoData><PluggedDrives><DriveInfo AxisId="Phi"/></PluggedDrives>'
        '<RotationSpeed Unit="/min" Value="30"/></InfoData></Unspecifics>'
    )
    scans = [raw_data(route(), drives=f"<Drives>{drive('Phi', turn)}</Drives>", fixed=spins) for turn in (3, 200)]
    [found] = read(archive(*scans))
    np.testing.assert_array_equal(found.intensity, 2 * PEAK)
    with pytest.raises(GlassmapError, match="differ in Phi"):
        read(archive(*(text.replace('Value="30"', 'Value="0.0"') for text in scans)))


# --- several routes of one scan


def test_what_was_measured_is_read_and_what_a_program_made_of_it_is_not_added(read):
    [found] = read(archive(raw_data(route(), route(PEAK / 2, flag="Final"))))
    np.testing.assert_array_equal(found.intensity, PEAK)


def test_pictures_are_read_as_what_the_instruments_program_made_of_them(read):
    pictures = route(PEAK / 3, recorded=counter(4, 192))
    [found] = read(archive(raw_data(pictures, route(flag="Final"))))
    np.testing.assert_array_equal(found.intensity, PEAK)
    assert any("route Final" in note for note in found.notes)
    [found] = read(archive(raw_data(pictures, route(), route(PEAK / 2, flag="Final"))))
    np.testing.assert_array_equal(found.intensity, PEAK)
    assert not any("route" in note for note in found.notes)


def test_the_log_of_a_heating_stage_is_no_scan(read):
    [found] = read(archive(raw_data(route(name="NonAmbientModeData"), route())))
    np.testing.assert_array_equal(found.intensity, PEAK)


def test_routes_that_follow_on_are_joined_and_other_detectors_refused(read):
    [found] = read(archive(raw_data(route(), route(PEAK + 1, two_theta=TWO_THETA + 41))))
    np.testing.assert_allclose(found.axis, np.arange(20, 102))
    with pytest.raises(GlassmapError, match="differ in detector: ScanCounter1, ScanCounter2"):
        read(archive(raw_data(route(), route(recorded=counter(4, name="ScanCounter2")))))


# --- names and wavelengths


@pytest.mark.parametrize(
    ("info", "fixed", "sample"),
    [
        ('<MeasurementInfo SampleName=" r001-01 "/>', "", "r001-01"),
        ('<MeasurementInfo SampleName="Commander Sample ID"/>', "", None),
        ('<MeasurementInfo SampleName=""/>', "", None),
        ('<MeasurementInfo SampleName=""/><SampleInfo><SampleName>r001-03</SampleName></SampleInfo>', "", "r001-03"),
        ('<SampleInfo Name="r001-04"/>', "", "r001-04"),
        ("", '<InfoItem Name="SampleName" Value="r001-02"/>', "r001-02"),
        ('<MeasurementInfo SampleName="r001-01"/>', '<InfoItem Name="SampleName" Value=""/>', "r001-01"),
    ],
)
def test_the_samples_name_is_what_somebody_entered(read, info: str, fixed: str, sample: str | None):
    inside = f"<MethodInformation><InfoData><InfoList>{fixed}</InfoList></InfoData></MethodInformation>"
    [found] = read(archive(raw_data(route(), fixed=inside), info=info))
    assert found.sample == sample


@pytest.mark.parametrize(
    ("tube", "wavelength", "note"),
    [
        (TUBE, KALPHA, "mean of Kα"),
        (TUBE.replace('Value="0.5"', 'Value="0"'), 1.5406, "Kα1"),
        ('<Tube><WaveLengthAlpha1 Unit="Å" Value="1.5406"/></Tube>', 1.5406, "Kα1"),
        ('<Tube><WaveLengthAverage Unit="Å" Value="1.5418"/></Tube>', 1.5418, "mean of Kα"),
        ("<Tube><TubeMaterial>Co</TubeMaterial></Tube>", 1.79028, "names the anode alone"),
    ],
)
def test_the_wavelength_is_what_the_file_says_and_which_is_said(read, tube: str, wavelength: float, note: str):
    [found] = read(archive(raw_data(route(), tube=tube)))
    assert found.wavelength == pytest.approx(wavelength, abs=1e-5)
    assert any(note in each for each in found.notes)


def test_a_monochromator_before_the_sample_is_named(read):
    optics = '<InfoData VisibleName="Ge022"><BeringInfo ClassPath="/Component/Optic/ChannelCut/B2"/></InfoData>'
    [found] = read(archive(raw_data(route(), optics=optics)))
    assert "Ge022 stands before the sample; if it passes Kα1 alone, that is 1.54060 Å." in found.notes


def test_the_instruments_setup_gives_the_wavelength_where_the_scan_leaves_it_out(read):
    setup = {"Experiment0/MeasurementContainer.xml": f"<Instrument>{TUBE}{TUBE}</Instrument>"}
    [found] = read(archive(raw_data(route(), tube=""), others=setup))
    assert found.wavelength == pytest.approx(KALPHA) and "as the instrument's setup has it" in found.notes[-1]
    two = {name: text + TUBE.replace("1.5406", "1.789") for name, text in setup.items()}
    assert read(archive(raw_data(route(), tube=""), others=two))[0].wavelength is None


def test_no_archive_and_an_archive_without_scans_are_refused(read):
    with pytest.raises(GlassmapError, match="begins like no Bruker brml file"):
        read(b"20 100\n21 100\n")
    with pytest.raises(GlassmapError, match="holds no scan"):
        read(archive())


def test_a_real_file_has_its_place_and_no_sample_that_nobody_named(shared_data: Path):
    [found] = read_scans(shared_data / "instrument-files" / "23-012-AG_2thomegascan_long.brml")
    assert (found.x, found.y, found.sample) == (0.221, 0.849, None)
    assert (found.intensity.max(), found.axis[found.intensity.argmax()]) == (495559.8, pytest.approx(45.82))
    assert "Ge022ACC stands before the sample; if it passes Kα1 alone, that is 1.54060 Å." in found.notes

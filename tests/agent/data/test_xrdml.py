"""Malvern Panalytical .xrdml: what differs from scan to scan, how long was counted, where it was measured."""

import time
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_raw_scan, read_scans
from glassmap.agent.errors import GlassmapError

TWO_THETA = np.arange(20.0, 61.0)
PEAK = np.round(100 + 900 * np.exp(-(((TWO_THETA - 40) / 5) ** 2)))
KALPHA = (1.540598 + 0.5 * 1.544426) / 1.5


def words(values: np.ndarray) -> str:
    return " ".join(f"{value:.10g}" for value in values)


def at(axis: str, start: float, end: float | None = None, unit: str = "deg") -> str:
    if end is None:
        return f'<positions axis="{axis}" unit="{unit}"><commonPosition>{start}</commonPosition></positions>'
    ends = f"<startPosition>{start}</startPosition><endPosition>{end}</endPosition>"
    return f'<positions axis="{axis}" unit="{unit}">{ends}</positions>'


def scan(
    counts: np.ndarray = PEAK,
    *,
    over: str | None = None,
    positions: str = "",
    times: str = '<commonCountingTime unit="seconds">1</commonCountingTime>',
    before: str = "",
    values: str = "counts",
    unit: str = "counts",
    attributes: str = 'mode="Continuous" scanAxis="Gonio" status="Completed"',
) -> str:
    over = at("2Theta", 20, 60) if over is None else over
    data = f'{over}{positions}{times}<{values} unit="{unit}">{words(counts)}</{values}>'
    return f"<scan {attributes}>{before}<dataPoints>{data}</dataPoints></scan>"


LINES = (
    '<usedWavelength intended="K-Alpha"><kAlpha1 unit="Angstrom">1.540598</kAlpha1><kAlpha2 unit="Angstrom">1.544426'
    '</kAlpha2><kBeta unit="Angstrom">1.39225</kBeta><ratioKAlpha2KAlpha1>0.5</ratioKAlpha2KAlpha1></usedWavelength>'
)


def measurement(*scans: str, lines: str = LINES, said: str = "") -> str:
    return f'<xrdMeasurement measurementType="Scan" status="Completed">{lines}{said}{"".join(scans)}</xrdMeasurement>'


def document(*measurements: str, version: str = "2.1", sample: str = "<id></id><name></name>") -> bytes:
    space = f"http://www.xrdml.com/XRDMeasurement/{version}"
    inside = "".join(measurements)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><xrdMeasurements xmlns="{space}" status="Completed">'
        f'<sample type="To be analyzed">{sample}</sample>{inside}</xrdMeasurements>'
    ).encode()


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes) -> list[RawScan]:
        path = tmp_path / "map.xrdml"
        path.write_bytes(content)
        return read_scans(path)

    return read


# --- how long was counted


@pytest.mark.parametrize(("values", "version"), [("intensities", "1.5"), ("counts", "2.0"), ("counts", "2.3")])
def test_counting_times_of_each_point_make_a_rate(read, values: str, version: str):
    times = np.where(TWO_THETA < 40, 1.0, 4.0)
    told = f'<countingTimes unit="seconds">{words(times)}</countingTimes>'
    [found] = read(document(measurement(scan(PEAK * times, times=told, values=values)), version=version))
    np.testing.assert_allclose(found.intensity, PEAK)
    assert "Points were counted for 1 to 4 s: counts became counts per second." in found.notes


def test_one_time_of_all_points_leaves_counts_as_they_are(read):
    told = f'<countingTimes unit="seconds">{words(np.full(41, 4.0))}</countingTimes>'
    [found] = read(document(measurement(scan(times=told))))
    np.testing.assert_array_equal(found.intensity, PEAK)
    assert not any("per second" in note for note in found.notes)


def test_pre_set_counts_are_divided_by_how_long_they_took(read):
    preset = 'mode="Pre-set counts" scanAxis="Gonio" status="Completed"'
    told = f"<countingTimes>{words(10000 / PEAK)}</countingTimes>"
    [found] = read(document(measurement(scan(np.full(41, 10000), times=told, attributes=preset))))
    np.testing.assert_allclose(found.intensity, PEAK, rtol=1e-9)
    with pytest.raises(GlassmapError, match="pre-set number, and the file doesn't say for how long"):
        read(document(measurement(scan(np.full(41, 10000), attributes=preset))))


def test_intensities_that_are_rates_are_divided_by_nothing(read):
    times = f"<countingTimes>{words(np.where(TWO_THETA < 40, 1.0, 4.0))}</countingTimes>"
    [found] = read(document(measurement(scan(times=times, values="intensities", unit="cps")), version="1.5"))
    np.testing.assert_array_equal(found.intensity, PEAK)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("<countingTimes>1 2 3</countingTimes>", "3 counting times for 41 counts"),
        (f"<countingTimes>{words(np.arange(41.0))}</countingTimes>", "counting time is 0 s"),
        ("<commonCountingTime>0</commonCountingTime>", "counting time is 0 s"),
        ('<countingTimes unit="minutes">1 2</countingTimes>', "'minutes'; seconds are expected"),
    ],
)
def test_counting_times_that_can_not_be_are_refused(read, told: str, said: str):
    with pytest.raises(GlassmapError, match=said):
        read(document(measurement(scan(times=told))))


# --- attenuation, once


@pytest.mark.parametrize(
    ("values", "factors", "factor"),
    [
        ("counts", "<commonBeamAttenuationFactor>5</commonBeamAttenuationFactor>", 5),
        ("counts", f"<beamAttenuationFactors>{'2 ' * 41}</beamAttenuationFactors>", 2),
        ("intensities", "<commonBeamAttenuationFactor>5</commonBeamAttenuationFactor>", 1),
        ("intensities", f"<beamAttenuationFactors>{'2 ' * 41}</beamAttenuationFactors>", 1),
    ],
)
def test_attenuation_is_applied_once(read, values: str, factors: str, factor: float):
    [found] = read(document(measurement(scan(values=values, positions=factors))))
    np.testing.assert_array_equal(found.intensity, factor * PEAK)


def test_corrections_for_a_slit_are_named_and_left(read):
    [found] = read(document(measurement(scan(positions="<divergenceCorrections>2 3</divergenceCorrections>"))))
    np.testing.assert_array_equal(found.intensity, PEAK)
    assert any("divergence slit, which were not applied" in note for note in found.notes)


# --- several scans


def test_a_map_is_a_scan_for_each_place(read):
    places = [(2.0 * (k % 21) - 20, 2.0 * (k // 21) - 20) for k in range(441)]
    content = document(
        measurement(
            *(
                scan(PEAK + k, positions=at("X", x, unit="mm") + at("Y", y, unit="mm"))
                for k, (x, y) in enumerate(places)
            )
        ),
        sample="<id>W7</id><name></name>",
    )
    start = time.process_time()
    found = read(content)
    assert time.process_time() - start < 1
    assert [(one.x, one.y) for one in found] == places
    assert [one.intensity[0] for one in found] == [100 + k for k in range(441)]
    assert {one.sample for one in found} == {"W7"} and [one.name for one in found[:2]] == ["1", "2"]


def test_places_in_measurements_of_their_own_are_scans_too(read):
    found = read(document(*(measurement(scan(positions=at("X", x, unit="mm"))) for x in (0, 5))))
    assert [one.x for one in found] == [0, 5]


def test_repeats_at_each_place_are_summed(read):
    scans = [scan(positions=at("X", x, unit="mm") + at("Z", 1.5, unit="mm")) for x in (0, 5, 0, 5)]
    found = read(document(measurement(*scans)))
    assert [(one.x, one.intensity.sum()) for one in found] == [(0, 2 * PEAK.sum()), (5, 2 * PEAK.sum())]


def heated(*kelvin: float) -> str:
    values = f"<nonAmbientValues>{words(np.array(kelvin))}</nonAmbientValues>"
    return f'<nonAmbientPoints type="Temperature">{values}</nonAmbientPoints>'


@pytest.mark.parametrize(
    ("scans", "said"),
    [
        ([scan(positions=at("Omega", w)) for w in (18, 20, 22)], r"3 scans .* differ in Omega \(°\): 18, 20, 22"),
        ([scan(positions=at("Omega", w, w + 20)) for w in (9.5, 10)], r"offset of Omega \(°\): -0.5, 0"),
        (
            [scan(positions=at("Omega", 10, 30)), scan(positions=at("Omega", 10, 25))],
            r"offset of Omega \(°\): 0, not said",
        ),
        ([scan(positions=at("Psi", tilt)) for tilt in (0, 45)], r"Psi \(°\): 0, 45"),
        ([scan(positions=at("Phi", turn)) for turn in (0, 90)], r"Phi \(°\): 0, 90"),
        ([scan(positions=at("Z", z, unit="mm")) for z in (1, 1.5)], r"Z \(mm\): 1, 1.5"),
        ([scan(before=heated(t, t + 1)) for t in (300, 500, 800)], r"temperature \(K\): 300.5, 500.5, 800.5"),
        ([scan(before=heated(300, 400)), scan(before=heated(400, 500))], "300 to 400, 400 to 500"),
        (
            [scan(), scan(attributes='mode="Continuous" scanAxis="2Theta" status="Completed"')],
            "scan axis: Gonio, 2Theta",
        ),
    ],
)
def test_scans_of_one_place_that_differ_in_what_was_set_are_refused(read, scans: list[str], said: str):
    with pytest.raises(GlassmapError, match=said):
        read(document(measurement(*scans)))


def test_measurements_with_other_lines_or_another_tube_are_not_summed(read):
    first = LINES.replace("K-Alpha", "K-Alpha 1", 1)
    with pytest.raises(GlassmapError, match=r"differ in wavelength \(Å\): 1.54187, 1.5406"):
        read(document(measurement(scan()), measurement(scan(), lines=first)))
    tubes = [f"<incidentBeamPath><xRayTube><current>{i}</current></xRayTube></incidentBeamPath>" for i in (40, 20)]
    with pytest.raises(GlassmapError, match=r"tube's current \(mA\): 40, 20"):
        read(document(*(measurement(scan(), said=tube) for tube in tubes)))


def test_a_spinning_sample_has_no_angle_to_differ_in(read):
    movement = '<sampleMovement type="spinningSampleMovementType"/>'
    scans = [scan(positions=at("Phi", turn)) for turn in (12.4, 260.6)]
    [found] = read(document(measurement(*scans, said=movement)))
    np.testing.assert_array_equal(found.intensity, 2 * PEAK)


def test_coupled_ranges_that_follow_on_are_joined_though_omega_begins_elsewhere(read):
    low = scan(PEAK, positions=at("Omega", 10, 30))
    high = scan(PEAK, over=at("2Theta", 61, 101), positions=at("Omega", 30.5, 50.5))
    [found] = read(document(measurement(low, high)))
    np.testing.assert_allclose(found.axis, np.arange(20, 102))
    np.testing.assert_array_equal(found.intensity, [*PEAK, *PEAK])


def test_two_theta_may_be_listed(read):
    listed = f'<positions axis="2Theta" unit="deg"><listPositions>{words(TWO_THETA**1.01)}</listPositions></positions>'
    [found] = read(document(measurement(scan(over=listed))))
    np.testing.assert_allclose(found.axis, TWO_THETA**1.01, rtol=1e-9)
    short = listed.replace(words(TWO_THETA**1.01), words(TWO_THETA[1:]))
    with pytest.raises(GlassmapError, match="40 positions of 2Theta for 41 counts"):
        read(document(measurement(scan(over=short))))


# --- no scan over 2θ


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (at("2Theta", 40) + at("Omega", 19, 21), "scanned over Omega at 2θ = 40°, no scan over 2θ"),
        (at("2Theta", 54) + at("Psi", 30) + at("Phi", 0, 360), "scanned over Phi at 2θ = 54°, no scan over 2θ"),
        (at("Omega", 19, 21), "scanned over Omega, no scan over 2θ"),
    ],
)
def test_a_rocking_curve_is_refused_by_what_it_is(read, over: str, said: str):
    with pytest.raises(GlassmapError, match=said):
        read(document(measurement(scan(over=over))))


def test_a_scan_among_several_is_named_by_its_number(read):
    with pytest.raises(GlassmapError, match="Scan 2 of 2: It was scanned over Omega"):
        read(document(measurement(scan(), scan(over=at("2Theta", 40) + at("Omega", 19, 21)))))
    aborted = scan(attributes='status="Aborted"')
    with pytest.raises(GlassmapError, match="Scan 3 of 3: The scan's status is 'Aborted'"):
        read(document(measurement(scan(), scan()), measurement(aborted)))


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        (at("X", 1, unit="inch"), "stage's X is in 'inch'; mm"),
        (at("X", 1, unit="mm").replace(">1<", ">1 2<"), "2 numbers stand where one is expected"),
        (at("X", 1, unit="mm").replace(">1<", "><"), "missing"),
    ],
)
def test_places_that_can_not_be_read_are_refused(read, positions: str, said: str):
    with pytest.raises(GlassmapError, match=said):
        read(document(measurement(scan(positions=positions))))


# --- wavelength


TUBE = "<incidentBeamPath><xRayTube><anodeMaterial>Cu</anodeMaterial></xRayTube></incidentBeamPath>"


@pytest.mark.parametrize(
    ("lines", "said", "wavelength", "note"),
    [
        (LINES, "", KALPHA, "mean of Kα"),
        (LINES.replace("K-Alpha", "K-Alpha 1", 1), "", 1.540598, "Kα1"),
        (LINES.replace("K-Alpha", "K-Beta", 1), "", 1.39225, "Kβ"),
        (LINES.replace(' intended="K-Alpha"', ""), "", KALPHA, "mean of Kα"),
        (LINES.replace("<ratioKAlpha2KAlpha1>0.5</ratioKAlpha2KAlpha1>", ""), "", KALPHA, "mean of Kα"),
        ('<usedWavelength><kAlpha1 unit="Angstrom">1.540598</kAlpha1></usedWavelength>', "", 1.540598, "Kα1"),
        ("", TUBE, 1.54187, "names the anode alone"),
    ],
)
def test_the_wavelength_is_what_the_file_says_and_which_is_said(read, lines, said, wavelength, note):
    [found] = read(document(measurement(scan(), lines=lines, said=said)))
    assert found.wavelength == pytest.approx(wavelength, abs=2e-5)
    assert any(note in each for each in found.notes)


def test_no_wavelength_is_none(read):
    [found] = read(document(measurement(scan(), lines="")))
    assert found.wavelength is None


# --- what kind of file it is


def test_a_file_of_another_kind_is_not_taken_by_its_ending(read, tmp_path: Path):
    with pytest.raises(GlassmapError, match="begins like no Malvern Panalytical xrdml file"):
        read(b"<?xml version='1.0'?><other/>")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_letters_of_any_width_are_read(tmp_path: Path, encoding: str):
    text = document(measurement(scan()), sample="<id>Probe ä</id><name></name>").decode()
    path = tmp_path / "scan.xrdml"
    path.write_bytes(text.replace("UTF-8", "UTF-16" if encoding == "utf-16" else "UTF-8").encode(encoding))
    assert read_raw_scan(path).sample == "Probe ä"


def test_a_real_file_has_its_place_and_its_attenuated_point(shared_data: Path):
    found = read_raw_scan(shared_data / "instrument-files" / "m54313_om2th_10.xrdml")
    assert (found.x, found.y, found.sample) == (-0.18, -1.9, None)
    assert (
        "Hybrid monochr. 2xGe(220) Cu asym. stands before the sample; if it passes Kα1 alone, that is 1.54060 Å."
        in (found.notes)
    )
    assert (found.intensity.max(), found.axis[found.intensity.argmax()]) == (1877 * 188, pytest.approx(66.105))


def test_a_wavelength_of_another_anode_than_the_tube_s_is_refused(tmp_path: Path):
    path = tmp_path / "scan.xrdml"
    path.write_bytes(document(measurement(scan(), said=TUBE.replace("Cu", "Mo"))))
    with pytest.raises(GlassmapError, match=r"anode Mo, whose Kα is 0\.7107 Å, and a wavelength of 1\.5406 Å"):
        read_scans(path)

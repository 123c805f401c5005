"""NeXus and other HDF5, written by the tests: what is read, with which unit, and that no other file is."""

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from glassmap.agent.data.scan_files import read_raw_scan, read_scans
from glassmap.agent.errors import DatasetError

ANGLES = np.arange(20.0, 61.0)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLES - 40) / 5) ** 2)))
Q = np.linspace(1.0, 5.0, 81)
HALO = np.round(100 + 900 * np.exp(-(((Q - 2.7) / 0.4) ** 2)))


def group_of(parent: Any, name: str, kind: str, **attributes: Any) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    group.attrs.update(attributes)
    return group


def put(group: Any, name: str, value: Any, units: str | None = None, **options: Any) -> Any:
    dataset = group.create_dataset(name, data=value, **options)
    if units is not None:
        dataset.attrs["units"] = units
    return dataset


def entry_with(
    file: Any, axis: str, points: Any, units: str | None, signal: Any = HALO, *, name: str = "entry", of: str = "counts"
) -> Any:
    """Write an entry with one NXdata, as the NeXus manual has it."""
    entry = group_of(file, name, "NXentry", default="data")
    data = group_of(entry, "data", "NXdata", signal="I", axes=["."] * (np.ndim(signal) - 1) + [axis])
    put(data, axis, points, units)
    put(data, "I", signal, of)
    return entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.nxs"


@pytest.mark.parametrize(
    ("axis", "units", "points", "name"),
    [
        ("q", "1/angstrom", Q, "q"),
        ("q", "angstrom^-1", Q, "q"),
        ("q", "A^-1", Q, "q"),
        ("q", "Å⁻¹", Q, "q"),
        ("q", "1/Ångström", Q, "q"),
        ("q", "$\\AA^{-1}$", Q, "q"),
        ("2θ", "deg", Q, "two_theta"),
        ("tth_deg", "degrees", Q, "two_theta"),
        ("Q", "1/nm", Q * 10, "q"),
        ("q", "q_nm^-1", Q * 10, "q"),
        ("radial", "nm^-1", Q * 10, "q"),
        ("q_norm", "1/m", Q * 1e10, "q"),
        ("q_A^-1", None, Q, "q"),
        ("2th", "deg", Q, "two_theta"),
        ("two_theta", "degrees", Q, "two_theta"),
        ("2th_rad", None, np.deg2rad(Q), "two_theta"),
        ("tth", "rad", np.deg2rad(Q), "two_theta"),
        ("r", "angstrom", Q, "r"),
        ("r", "nm", Q / 10, "r"),
    ],
)
def test_an_axis_is_what_its_name_and_unit_say(axis: str, units: str | None, points: Any, name: str, path: Path):
    with h5py.File(path, "w") as file:
        entry_with(file, axis, points, units)
    scan = read_raw_scan(path)
    assert scan.axis_name == name
    np.testing.assert_allclose(scan.axis, Q, rtol=1e-9)
    assert scan.axis[scan.intensity.argmax()] == pytest.approx(2.7) and scan.intensity.sum() == HALO.sum()


def test_units_are_never_guessed(path: Path):
    with h5py.File(path, "w") as file:
        entry_with(file, "q", Q, None)
    with pytest.raises(DatasetError, match=r"scan\.nxs: Its axis 'q' has no attribute `units`, and units are never"):
        read_scans(path)


@pytest.mark.parametrize(
    ("axis", "units"),
    [("chi", "deg"), ("r", "mm"), ("energy", "keV"), ("d*2", "A^-2"), ("d", "angstrom"), ("q_x", "1/nm")],
)
def test_what_is_over_something_else_is_refused_in_words(axis: str, units: str, path: Path):
    with h5py.File(path, "w") as file:
        entry_with(file, axis, Q, units)
    with pytest.raises(DatasetError, match=r"holds no scan over 2θ, q or r: /entry/data is over '" + axis[0]):
        read_scans(path)


def test_pyfai_names_unit_and_wavelength_in_its_results(path: Path):
    with h5py.File(path, "w") as file:
        entry = group_of(file, "entry", "NXentry", default="results")
        process = group_of(entry, "pyFAI", "NXprocess")
        note = group_of(process, "poni", "NXnote")
        note["data"] = json.dumps({"poni_version": 2.1, "wavelength": 0.41e-10})
        sample = group_of(entry, "sample", "NXsample")
        sample["name"] = "W1-3"
        detector = group_of(group_of(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        angle, data = put(detector, "polar_angle", Q * 10, "q_nm^-1"), put(detector, "data", HALO)
        results = group_of(entry, "results", "NXdata", signal="data", axes=["polar_angle"])
        results["polar_angle"], results["data"] = angle, data  # hard links, as pyFAI writes them
    scan = read_raw_scan(path)
    assert scan.sample == "W1-3" and scan.wavelength == pytest.approx(0.41) and scan.axis_name == "q"
    np.testing.assert_allclose(scan.axis, Q)
    assert scan.notes == ("The axis, in 'q_nm^-1', was converted.",)


def test_a_stack_is_as_many_scans_as_it_has_rows(path: Path):
    with h5py.File(path, "w") as file:
        entry_with(file, "q", Q, "1/angstrom", HALO * np.arange(1, 5)[:, None])
    scans = read_scans(path)
    assert [scan.name for scan in scans] == ["1", "2", "3", "4"]
    assert [scan.intensity.sum() for scan in scans] == [k * HALO.sum() for k in (1, 2, 3, 4)]
    assert all(scan.x is None for scan in scans)


def test_the_axes_of_a_map_say_where_each_scan_was_taken(path: Path):
    with h5py.File(path, "w") as file:
        entry = group_of(file, "entry", "NXentry", default="map")
        data = group_of(entry, "map", "NXdata", signal="intensity", axes=["samy", "samx", "q"])
        put(data, "samy", [0.0, 5.0], "mm")
        put(data, "samx", [-1000.0, 0.0, 1000.0], "um")
        put(data, "q", Q, "1/angstrom")
        put(data, "intensity", HALO * (1 + np.arange(6)).reshape(2, 3, 1))
    scans = read_scans(path)
    assert [(scan.x, scan.y) for scan in scans] == [(-1, 0), (0, 0), (1, 0), (-1, 5), (0, 5), (1, 5)]
    assert [scan.intensity.max() / HALO.max() for scan in scans] == [1, 2, 3, 4, 5, 6]


def test_the_motors_of_pyfais_maps_are_known_by_their_long_names(path: Path):
    with h5py.File(path, "w") as file:
        process = group_of(group_of(file, "entry_0000", "NXentry", default="pyFAI/result"), "pyFAI", "NXprocess")
        data = group_of(process, "result", "NXdata", signal="intensity", axes=["slow", "fast", "q"])
        put(data, "slow", [0.0, 5.0], "mm").attrs["long_name"] = "samy"
        put(data, "fast", [1.0, 2.0, 3.0], "mm").attrs["long_name"] = "samx"
        put(data, "q", Q * 10, "nm^-1")
        put(data, "intensity", HALO * np.ones((2, 3, 1)), None)
    assert [(scan.x, scan.y) for scan in read_scans(path)] == [(1, 0), (2, 0), (3, 0), (1, 5), (2, 5), (3, 5)]


def test_positioners_say_where_each_scan_of_a_stack_was_taken(path: Path):
    with h5py.File(path, "w") as file:
        entry = entry_with(file, "q", Q, "1/angstrom", HALO * np.ones((3, 1)))
        positioners = group_of(group_of(entry, "instrument", "NXinstrument"), "positioners", "NXcollection")
        put(positioners, "samx", [1.0, 2.0, 3.0], "mm")
        put(positioners, "samy", 7.0, "mm")
        put(positioners, "samz", 99.0, "mm")
    assert [(scan.x, scan.y) for scan in read_scans(path)] == [(1, 7), (2, 7), (3, 7)]


def test_entries_are_scans_of_their_own(path: Path):
    with h5py.File(path, "w") as file:
        for k, name in enumerate(("P1", "P2", "P3"), start=1):
            entry = entry_with(file, "two_theta", ANGLES, "deg", COUNTS * k, name=f"{k}.1")
            group_of(entry, "sample", "NXsample")["name"] = name
    scans = read_scans(path)
    assert [scan.name for scan in scans] == ["P1", "P2", "P3"]
    assert [scan.intensity.sum() for scan in scans] == [12076, 24152, 36228]


def test_entries_without_names_or_places_are_never_summed(path: Path):
    with h5py.File(path, "w") as file:
        for k in (1, 2):
            entry_with(file, "two_theta", ANGLES, "deg", COUNTS, name=f"{k}.1")
    assert [(scan.name, scan.intensity.max()) for scan in read_scans(path)] == [("1", 1000), ("2", 1000)]


def xrd_pan(file: Any, omega: Any = None, times: Any = None, of: str = "counts") -> Any:
    """Write what pynxtools makes of an .xrdml."""
    entry = group_of(file, "entry", "NXentry", default="experiment_result")
    entry["definition"] = "NXxrd_pan"
    source = group_of(group_of(entry, "instrument", "NXinstrument"), "source", "NXsource")
    put(source, "k_alpha_one", 1.540598, "angstrom")
    put(source, "k_alpha_two", 1.544426, "angstrom")
    put(source, "ratio_k_alphatwo_k_alphaone", 0.5)
    data = group_of(entry, "experiment_result", "NXdata", signal="intensity", axes=["two_theta"])
    put(data, "two_theta", ANGLES, "deg")
    put(data, "q_norm", np.full(41, 1e10), "1/m")
    put(data, "intensity", COUNTS if times is None else COUNTS * times, of)
    put(data, "omega", ANGLES / 2 if omega is None else omega, "deg")
    if times is not None:
        put(group_of(entry, "experiment_config", "NXobject"), "count_time", times, "s")
    return entry


def test_nxxrd_pan_holds_both_k_alpha_lines(path: Path):
    with h5py.File(path, "w") as file:
        xrd_pan(file)
    scan = read_raw_scan(path)
    assert scan.axis_name == "two_theta" and scan.wavelength == pytest.approx(1.541874, abs=1e-6)
    assert (scan.axis[0], scan.axis[-1], scan.intensity.sum()) == (20, 60, 12076)
    assert scan.notes == ("Wavelength 1.54187 Å, mean of Kα.",)


def test_counts_of_different_times_become_counts_per_second(path: Path):
    with h5py.File(path, "w") as file:
        xrd_pan(file, times=np.where(ANGLES < 40, 1.0, 4.0))
    scan = read_raw_scan(path)
    np.testing.assert_allclose(scan.intensity, COUNTS)
    assert "counted for 1 to 4 s" in scan.notes[-1]


def test_counts_need_a_unit_where_their_times_differ(path: Path):
    with h5py.File(path, "w") as file:
        xrd_pan(file, times=np.where(ANGLES < 40, 1.0, 4.0))
        del file["entry/experiment_result/intensity"].attrs["units"]
    with pytest.raises(DatasetError, match=r"counted for 1 to 4 s, and .*'counts' or 'counts/s'"):
        read_scans(path)
    with h5py.File(path, "a") as file:
        file["entry/experiment_result/intensity"].attrs["units"] = "counts/s"
    assert read_raw_scan(path).intensity.max() == 4000, "what says that it is a rate isn't divided again"


def test_the_older_signal_attribute_is_known(path: Path):
    with h5py.File(path, "w") as file:
        data = group_of(group_of(file, "entry", "NXentry"), "data", "NXdata")
        put(data, "polar_angle", ANGLES, "degrees").attrs["axis"] = 1
        signal = put(data, "detector", COUNTS)
        signal.attrs["signal"] = 1
        signal.attrs["axes"] = "polar_angle"
    assert read_raw_scan(path).intensity.sum() == 12076


def test_an_axis_that_runs_downwards_is_turned_round(path: Path):
    with h5py.File(path, "w") as file:
        entry_with(file, "two_theta", ANGLES[::-1], "deg", COUNTS[::-1] * np.linspace(1, 2, 41))
    scan = read_raw_scan(path)
    assert scan.axis[0] == 20 and scan.intensity[0] == pytest.approx(COUNTS[0] * 2)


def test_several_wavelengths_are_refused(path: Path):
    with h5py.File(path, "w") as file:
        instrument = group_of(entry_with(file, "q", Q, "1/nm"), "instrument", "NXinstrument")
        put(group_of(instrument, "beam", "NXbeam"), "incident_wavelength", 0.41, "angstrom")
        put(group_of(instrument, "monochromator", "NXmonochromator"), "energy", 12.0, "keV")
    with pytest.raises(DatasetError, match=r"several wavelengths, 0\.41, 1\.0332 Å"):
        read_scans(path)


def test_patterns_of_one_measurement_need_a_default(path: Path):
    with h5py.File(path, "w") as file:
        entry = group_of(file, "entry", "NXentry")
        for name, units in (("in_q", "1/nm"), ("in_A", "1/angstrom")):
            data = group_of(entry, name, "NXdata", signal="I", axes=["q"])
            put(data, "q", Q * (10 if units == "1/nm" else 1), units)
            put(data, "I", HALO)
    with pytest.raises(DatasetError, match=r"2 patterns of one measurement .*attribute `default`"):
        read_scans(path)
    with h5py.File(path, "a") as file:
        file["entry"].attrs["default"] = "in_q"
    assert read_raw_scan(path).axis[-1] == pytest.approx(5)


def test_of_one_pattern_over_two_theta_and_q_the_measured_axis_is_read(path: Path):
    with h5py.File(path, "w") as file:
        entry = entry_with(file, "two_theta", ANGLES, "deg", COUNTS)
        del entry.attrs["default"]
        data = group_of(entry, "a_plot", "NXdata", signal="I", axes=["q"])
        put(data, "q", np.linspace(1, 4, 41), "1/angstrom")
        data["I"] = h5py.SoftLink("/entry/data/I")
    scan = read_raw_scan(path)
    assert (scan.axis_name, scan.axis[-1], scan.intensity.sum()) == ("two_theta", 60, 12076)


@pytest.mark.parametrize(
    ("along", "units", "words"),
    [("chi", "deg", r"chi \(deg\)"), ("temperature", "K", r"temperature \(K\)"), ("z", "mm", "z")],
)
def test_a_stack_over_something_else_than_place_or_turn_is_refused(along: str, units: str, words: str, path: Path):
    with h5py.File(path, "w") as file:
        data = entry_with(file, "two_theta", ANGLES, "deg", np.array([COUNTS, COUNTS, COUNTS * 2]))["data"]
        data.attrs["axes"] = [along, "two_theta"]
        put(data, along, [300.0, 500.0, 700.0], units)
    with pytest.raises(DatasetError, match=rf"3 scans of one place that differ in {words}.*: 300, 500, 700\."):
        read_scans(path)
    with h5py.File(path, "a") as file:
        file.move(f"entry/data/{along}", "entry/data/frame_number")
        file["entry/data"].attrs["axes"] = ["frame_number", "two_theta"]
    assert [scan.intensity.max() for scan in read_scans(path)] == [1000, 1000, 2000]


def test_edges_of_bins_are_refused_with_both_sizes(path: Path):
    with h5py.File(path, "w") as file:
        entry_with(file, "two_theta", np.arange(19.5, 61), "deg", COUNTS)
    with pytest.raises(DatasetError, match=r"over 'two_theta' in 'deg', 42 values \(intensities: 41\)"):
        read_scans(path)


@pytest.mark.parametrize(
    ("kind", "name", "value", "weights", "wavelength", "words"),
    [
        ("NXbeam", "incident_wavelength", [1.5406, 1.5444], [1.0, 0.5], 1.541867, "mean of 1.5406, 1.5444"),
        ("NXbeam", "incident_wavelength", [1.5406, 1.5444], [3.0, 1.0], 1.54155, "mean of 1.5406, 1.5444"),
        ("NXbeam", "incident_wavelength", [1.5406, 1.5444], None, 1.541867, "mean of 1.5406, 1.5444"),
        ("NXsource", "target_material", "Cu", None, 1.541874, "names the anode alone"),
    ],
)
def test_both_lines_of_an_anode_are_weighted(
    kind: str, name: str, value: Any, weights: Any, wavelength: float, words: str, path: Path
):
    with h5py.File(path, "w") as file:
        instrument = group_of(entry_with(file, "two_theta", ANGLES, "deg", COUNTS), "instrument", "NXinstrument")
        group = group_of(instrument, "beam", kind)
        put(group, name, value, None if isinstance(value, str) else "angstrom")
        if weights is not None:
            put(group, f"{name}_weights", weights)
    scan = read_raw_scan(path)
    assert scan.wavelength == pytest.approx(wavelength, abs=1e-5) and words in scan.notes[-1]


def test_the_stage_moves_the_sample(path: Path):
    with h5py.File(path, "w") as file:
        sample = group_of(entry_with(file, "two_theta", ANGLES, "deg", COUNTS), "sample", "NXsample")
        moves = group_of(sample, "transformations", "NXtransformations")
        put(moves, "x", 3.0, "mm")
        put(moves, "y", -4000.0, "um")
    assert read_raw_scan(path)[6:8] == (3, -4)


def other_file(folder: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["q"], file["I"] = Q, HALO
        file["q"].attrs["units"] = "1/angstrom"
    return folder / "other.h5"


@pytest.mark.parametrize("how", ["link", "soft link to a link", "virtual", "external storage"])
def test_no_other_file_is_opened(how: str, path: Path, tmp_path: Path):
    other = other_file(tmp_path)
    with h5py.File(path, "w") as file:
        data = group_of(group_of(file, "entry", "NXentry"), "data", "NXdata", signal="I", axes=["q"])
        put(data, "q", Q, "1/angstrom")
        if how == "virtual":
            layout = h5py.VirtualLayout(HALO.shape, HALO.dtype)
            layout[:] = h5py.VirtualSource(str(other), "I", HALO.shape)
            data.create_virtual_dataset("I", layout)
        elif how == "external storage":
            HALO.tofile(tmp_path / "raw.bin")
            data.create_dataset("I", HALO.shape, HALO.dtype, external=[(str(tmp_path / "raw.bin"), 0, HALO.nbytes)])
        else:
            link = h5py.ExternalLink(str(other), "/I")
            data["I" if how == "link" else "there"] = link
            if how != "link":
                data["I"] = h5py.SoftLink("there")
    with pytest.raises(DatasetError, match=r"another file.*no other file is opened"):
        read_scans(path)


def test_links_to_pictures_that_nobody_needs_are_passed_over(path: Path):
    with h5py.File(path, "w") as file:
        entry = entry_with(file, "q", Q, "1/angstrom")
        detector = group_of(group_of(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        detector["data"] = h5py.ExternalLink("pictures_0001.h5", "/entry/data")
        detector["again"] = h5py.SoftLink("/entry/instrument/detector/again")
        entry["whole"] = h5py.SoftLink("/")
    assert read_raw_scan(path).intensity.sum() == HALO.sum()


def test_what_unpacks_to_too_much_is_refused(path: Path):
    with h5py.File(path, "w") as file:
        entry = group_of(file, "entry", "NXentry")
        data = group_of(entry, "data", "NXdata", signal="I", axes=[".", "q"])
        put(data, "q", Q, "1/angstrom")
        data.create_dataset("I", (10_000_000, 81), "f4", chunks=(100_000, 81), compression="gzip")
    assert path.stat().st_size < 20_000
    with pytest.raises(DatasetError, match="has 810000000 values; 16000000 are read at most"):
        read_scans(path)


@pytest.mark.parametrize("end", [9, 100, 2000, -1])
def test_a_file_that_is_cut_off_is_refused(end: int, path: Path):
    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        entry_with(file, "q", Q, "1/angstrom")
    path.write_bytes(packed.getvalue()[:end])
    with pytest.raises(DatasetError, match=r"scan\.nxs: It is no whole HDF5 file: .* Wait until it is written"):
        read_scans(path)


def test_a_file_without_patterns_says_what_it_lacks(path: Path):
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((3, 3))
    with pytest.raises(DatasetError, match=r"holds no scan over 2θ, q or r: it has no NXdata"):
        read_scans(path)


def test_a_map_of_entries_is_read_in_the_order_of_their_numbers(path: Path):
    with h5py.File(path, "w") as file:
        for k in range(121):
            entry = entry_with(file, "q", Q, "1/angstrom", HALO + k, name=f"{k + 1}.1")
            sample = group_of(entry, "sample", "NXsample")
            put(sample, "x_translation", float(k % 11), "mm")
            put(sample, "y_translation", float(k // 11), "mm")
    scans = read_scans(path)
    assert len(scans) == 121 and (scans[-1].x, scans[-1].y, scans[-1].name) == (10, 10, "121")
    assert [scan.intensity[0] - HALO[0] for scan in scans] == list(range(121))

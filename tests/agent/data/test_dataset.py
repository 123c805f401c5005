import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.data.dataset import SpectraSet, read_dataset, write_dataset
from glassmap.agent.data.spectrum import Substrate
from glassmap.agent.errors import CompositionError, DatasetError, GlassmapError, SpectrumError

SHARED = Path(os.environ.get("GLASSMAP_SHARED_DATA", Path(__file__).parents[3] / "../shared/data")) / "synchrotron"
ELEMENTS = ("Co", "V", "Zr", "Al", "Ni")

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no measured spectra at {SHARED}")
brief = hypothesis.settings(deadline=None, max_examples=40)
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


def small_set(n=6, q=40, **changes) -> SpectraSet:
    """A set of `n` samples on two wafers, with one extra of each kind."""
    rng = np.random.default_rng(7)
    fields = {
        "ids": tuple(f"s{row}" for row in range(n)),
        "elements": ELEMENTS[:3],
        "compositions": rng.dirichlet(np.ones(3), size=n),
        "axis_name": "q",
        "axis": np.linspace(1.0, 5.0, q),
        "intensities": rng.uniform(1, 900, size=(n, q)).astype(np.float32),
        "coordinates": {
            "wafer": np.array(["A", "B"] * n)[:n],
            "scan": np.arange(n) // 2 + 1,
            "rate": np.linspace(0.1, 0.2, n),
            "cleaned": np.arange(n) > 0,
            "plate_xy": rng.normal(size=(n, 2)),
        },
        "units": {"intensity": "counts", "plate_xy": "mm"},
    }
    return SpectraSet(**(fields | changes))


def as_xarray(tmp_path: Path) -> xr.Dataset:
    """The good file that the tests below break in one place each."""
    write_dataset(small_set(), tmp_path / "good.nc")
    return xr.load_dataset(tmp_path / "good.nc", engine="h5netcdf").drop_vars("sample")


def broken(data: xr.Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "broken.nc"
    data.to_netcdf(path, engine="h5netcdf")
    return path


def assert_same(one: SpectraSet, other: SpectraSet) -> None:
    for name in ("ids", "elements", "axis_name", "units", "wavelength", "attributes", "notes"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_allclose(one.compositions, other.compositions, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(one.axis, other.axis)
    np.testing.assert_array_equal(one.intensities, other.intensities)
    assert one.intensities.dtype == other.intensities.dtype
    assert set(one.coordinates) == set(other.coordinates)
    for name, values in one.coordinates.items():
        np.testing.assert_array_equal(values, other.coordinates[name])
        assert values.dtype.kind == other.coordinates[name].dtype.kind


@st.composite
def fields_of_sets(draw):  # not the set itself: its shape check draws on `random`, which Hypothesis forbids here
    n, e, q = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    extras = {
        "wafer": np.array(draw(st.lists(text, min_size=n, max_size=n))),
        "cleaned": rng.random(n) < 0.5,
        "scan": rng.integers(0, 99, n),
        "q1_reported": np.where(rng.random(n) < 0.3, np.nan, rng.random(n)),
        "plate_xy": rng.normal(size=(n, 2)),
    }
    named = draw(st.sets(st.sampled_from(sorted(extras))))
    return {
        "ids": tuple(draw(st.lists(text, min_size=n, max_size=n, unique=True))),
        "elements": tuple(draw(st.permutations(ELEMENTS)))[:e],
        "compositions": rng.dirichlet(np.ones(e), size=n),
        "axis_name": draw(st.sampled_from(["q", "two_theta", "r"])),
        "axis": np.cumsum(rng.uniform(0.01, 1, q)),
        "intensities": rng.normal(size=(n, q)).astype(draw(st.sampled_from([np.float32, np.float64]))),
        "coordinates": {name: extras[name] for name in named},
        "units": {name: draw(text) for name in named - {"cleaned"}},
        "wavelength": draw(st.floats(0.1, 3)),
        "attributes": draw(st.dictionaries(st.sampled_from(["title", "source", "licence"]), text)),
        "notes": tuple(draw(st.lists(text, max_size=2))),
    }


@brief
@given(fields=fields_of_sets())
def test_a_written_set_reads_back_as_it_was(tmp_path_factory, fields):
    spectra, path = SpectraSet(**fields), tmp_path_factory.mktemp("round_trip") / "set.nc"
    write_dataset(spectra, path)
    assert_same(read_dataset(path), spectra)


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "elements", "samples", "points", "first"),
    [
        ("co-ti-zr", ("Co", "Ti", "Zr"), 1323, 802, "SampleB2_4-0001"),
        ("co-v-zr", ("Co", "V", "Zr"), 2582, 733, "Sample9-0002"),
        ("fe-ti-nb", ("Fe", "Ti", "Nb"), 1306, 849, "SampleB2_19-0001"),
    ],
)
def test_the_measured_sets_are_read_as_they_are(tmp_path, name, elements, samples, points, first):
    spectra = read_dataset(SHARED / f"{name}.nc")
    assert (spectra.elements, len(spectra), spectra.ids[0], spectra.axis_name) == (elements, samples, first, "q")
    assert spectra.intensities.shape == (samples, points) and spectra.intensities.dtype == np.float32
    assert spectra.coordinates["plate_xy"].shape == (samples, 2)
    assert spectra.coordinates["cleaned"].dtype == bool
    assert "Ren" in spectra.attributes["source"]
    write_dataset(spectra, tmp_path / "copy.nc")
    assert_same(read_dataset(tmp_path / "copy.nc"), spectra)


@needs_shared_data
def test_the_cleaned_part_of_co_ti_zr_has_1281_spectra():
    spectra = read_dataset(SHARED / "co-ti-zr.nc")
    assert len(spectra.where("cleaned")) == 1281
    assert len(spectra.where("not cleaned")) == 42


@needs_shared_data
def test_measured_spectra_are_prepared_to_a_maximum_of_100():
    prepared = read_dataset(SHARED / "co-v-zr.nc").prepared(low=1.0, high=5.0, points=512)
    np.testing.assert_allclose(prepared.intensities.max(axis=1), 100)
    assert prepared.intensities.shape == (2582, 512)


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("cleaned", "s1 s2 s3 s4 s5"),
        ("not cleaned", "s0"),
        ("cleaned = false", "s0"),
        ("cleaned!=True", "s0"),
        ("wafer=A", "s0 s2 s4"),
        ("wafer == A", "s0 s2 s4"),
        ("wafer!=A", "s1 s3 s5"),
        ("not wafer=A", "s1 s3 s5"),
        ("scan=2", "s2 s3"),
        ("rate=0.2", "s5"),
    ],
)
def test_where_selects(expression, ids):
    assert small_set().where(expression).ids == tuple(ids.split())


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("clean", r"one of \['cleaned', 'plate_xy', 'rate', 'scan', 'wafer'\]"),
        ("", "NAME=VALUE"),
        ("wafer=C", r"the values of 'wafer' are \['A', 'B'\]"),
        ("cleaned=5", "write it as in cleaned=false"),
        ("scan", "write it as in scan=1"),
        ("plate_xy=1", "2 values a sample"),
    ],
)
def test_where_refuses_what_it_cannot_select(expression, message):
    with pytest.raises(DatasetError, match=message):
        small_set().where(expression)


def test_select_keeps_every_row_together():
    spectra, rows = small_set(), np.array([4, 1])
    chosen = spectra.select(rows)
    assert chosen.ids == ("s4", "s1")
    np.testing.assert_array_equal(chosen.intensities, spectra.intensities[rows])
    np.testing.assert_array_equal(chosen.coordinates["plate_xy"], spectra.coordinates["plate_xy"][rows])
    assert_same(spectra.select(np.isin(spectra.ids, ["s0", "s3"])), spectra.select(np.array([0, 3])))


def test_preparing_without_arguments_keeps_the_axis_and_says_what_was_done():
    spectra = small_set()
    prepared = spectra.prepared()
    np.testing.assert_allclose(prepared.axis, spectra.axis)
    np.testing.assert_allclose(
        prepared.intensities, 100 * spectra.intensities / spectra.intensities.max(axis=1)[:, None]
    )
    assert prepared.attributes["preprocessing"] == (
        "interpolated to 40 points of q, 1 to 5 1/angstrom, scaled to a maximum of 100"
    )
    assert prepared.units["intensity"] == "percent"


def test_a_pair_distribution_keeps_its_scale():
    spectra = small_set(axis_name="r")
    prepared = spectra.prepared(low=2.0, high=4.0, points=20)
    np.testing.assert_allclose(prepared.intensities[0], np.interp(prepared.axis, spectra.axis, spectra.intensities[0]))
    assert prepared.units["intensity"] == "counts"


def test_the_substrate_is_subtracted():
    spectra = small_set()
    prepared = spectra.prepared(substrate=Substrate(spectra.axis, np.full(40, 1.0)))
    less = spectra.intensities - 1
    np.testing.assert_allclose(prepared.intensities, 100 * less / less.max(axis=1)[:, None], rtol=1e-6)
    assert "substrate subtracted" in prepared.attributes["preprocessing"]


def test_a_range_that_the_axis_does_not_cover_is_refused():
    with pytest.raises(SpectrumError, match=r"cover the range 0\.5 to 5"):
        small_set().prepared(low=0.5, points=40)


def test_ids_come_from_wafer_and_scan_else_from_the_row(tmp_path):
    data = as_xarray(tmp_path)
    assert read_dataset(broken(data, tmp_path)).ids[:3] == ("A-0001", "B-0001", "A-0002")
    assert read_dataset(broken(data.drop_vars("scan"), tmp_path)).ids[:2] == ("0001", "0002")
    named = data.assign(id=("sample", [f"x{row}" for row in range(6)]))
    assert read_dataset(broken(named, tmp_path)).ids[:2] == ("x0", "x1")


def test_compositions_within_the_tolerance_are_closed_and_it_is_said(tmp_path):
    data = as_xarray(tmp_path)
    data["composition"][2] = [20.0, 30.0, 50.3]
    spectra = read_dataset(broken(data, tmp_path))
    np.testing.assert_allclose(spectra.compositions.sum(axis=1), 1)
    assert any("1 of 6" in note and "100.30" in note and "A-0002" in note for note in spectra.notes)


def test_a_variable_without_samples_is_left_out_and_it_is_said(tmp_path):
    spectra = read_dataset(broken(as_xarray(tmp_path).assign(temperature=300.0), tmp_path))
    assert spectra.notes == ("Left out, as without the dimension sample: temperature.",)


def test_dimensions_may_come_in_any_order(tmp_path):
    data = as_xarray(tmp_path)
    turned = read_dataset(broken(data.transpose(), tmp_path))
    assert_same(turned, read_dataset(broken(data, tmp_path)))


def with_value(name, place, value):
    def change(data):
        data[name][place] = value
        return data

    return change


def with_unit(name, unit):
    def change(data):
        data[name].attrs["units"] = unit
        return data

    return change


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda data: data.drop_vars("intensity"), DatasetError, r"no variable 'intensity' among .*'composition'"),
        (lambda data: data.drop_vars("composition"), DatasetError, "no variable 'composition'"),
        (lambda data: data.drop_vars("q"), DatasetError, "no variable 'q'"),
        (lambda data: data.drop_vars("element"), DatasetError, "no variable 'element'"),
        (lambda data: data.rename(q="energy"), DatasetError, r"dimensions of intensity are \('sample', 'energy'\)"),
        (lambda data: data.rename(element="part"), DatasetError, r"dimensions of composition are \('sample', 'part'\)"),
        (lambda data: data.isel(sample=slice(0)), DatasetError, "no sample"),
        (lambda data: data.assign(intensity=data.intensity.astype(str)), DatasetError, "intensity must hold numbers"),
        (lambda data: data.assign(composition=data.composition.astype(str)), DatasetError, "composition must hold num"),
        (with_value("composition", 2, [20, 30, 45]), CompositionError, r"Row 3 \(A-0002\).*sum to 100.*got 95"),
        (with_value("composition", 2, [0.2, 0.3, 0.5]), CompositionError, r"Row 3 .*multiply by 100"),
        (with_value("composition", 2, [-5, 55, 50]), CompositionError, r"Row 3 .*Co is negative"),
        (with_value("composition", 2, [np.nan, 50, 50]), CompositionError, r"Row 3 .*Co is no number"),
        (lambda data: data.assign_coords(element=["Co", "Vv", "Zr"]), DatasetError, "'Vv' is no chemical symbol"),
        (lambda data: data.assign_coords(element=["Co", "Co", "Zr"]), DatasetError, "Elements must differ"),
        (with_value("intensity", (1, 5), np.nan), SpectrumError, r"Row 2 \(B-0001\): the spectrum holds NaN"),
        (with_value("intensity", slice(1, 3), 0), SpectrumError, r"Row 2 .*and 1 more.* is zero everywhere"),
        (lambda data: data.isel(q=slice(None, None, -1)), SpectrumError, "increase strictly"),
        (lambda data: data.isel(q=[0, 1, 1, 2]), SpectrumError, "at point 2; sort it and drop repeats"),
        (lambda data: data.isel(q=[0]), SpectrumError, "2 or more points"),
        (lambda data: data.assign(id=("sample", list("abcadf"))), DatasetError, "Rows 1 and 4 are both called 'a'"),
        (with_unit("composition", "wt.%"), DatasetError, "unit of composition must be 'at.%', got 'wt.%'"),
        (with_unit("composition", ""), DatasetError, "unit of composition must be 'at.%', got ''"),
        (with_unit("q", "1/nm"), DatasetError, "unit of q must be '1/angstrom', got '1/nm'"),
        (lambda data: with_unit("x", "degree")(data.rename(q="x")).rename(x="two_theta"), DatasetError, "wavelength"),
        (lambda data: data.assign_attrs(wavelength="Cu"), DatasetError, "must be a number in Å, got 'Cu'"),
        (lambda data: data.assign_attrs(wavelength=-1.5), DatasetError, "above 0 Å"),
    ],
)
def test_a_bad_file_is_refused_by_name_with_what_is_wrong(tmp_path, change, error, message):
    path = broken(change(as_xarray(tmp_path)), tmp_path)
    with pytest.raises(error, match=message) as refused:
        read_dataset(path)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "cut.nc"
    write_dataset(small_set(n=200), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DatasetError, match=r"cut\.nc .*(no NetCDF 4 file|cut short)"):
        read_dataset(path)


def test_a_file_that_lacks_its_last_byte_is_refused(tmp_path):
    path = tmp_path / "cut.nc"
    write_dataset(small_set(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="cut short or damaged"):
        read_dataset(path)


def test_a_flipped_bit_among_the_intensities_is_found(tmp_path):
    path = tmp_path / "flipped.nc"
    write_dataset(small_set(n=200, q=400), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # nearly all of the file is intensities
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="cut short or damaged"):
        read_dataset(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "table.nc"
    path.write_text("file,Co (at.%)\n")
    with pytest.raises(DatasetError, match=r"no NetCDF 4 file .*glassmap import"):
        read_dataset(path)
    with pytest.raises(DatasetError, match="no file"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no file"):
        read_dataset(tmp_path / "absent.nc")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "set.nc"
    write_dataset(small_set(), path)

    def fill_disk(self, part, **_):
        part.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fill_disk)
    with pytest.raises(DatasetError, match=r"can't be written: No space left"):
        write_dataset(small_set(n=2), path)
    assert list(tmp_path.iterdir()) == [path]
    assert len(read_dataset(path)) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinates": {"element": np.zeros(6)}}, "can't be called 'element'"),
        ({"coordinates": {"nm/s": np.zeros(6)}}, "can't be called 'nm/s'"),
        ({"coordinates": {"rate": np.zeros(5)}}, "one entry for each of 6 samples"),
        ({"compositions": np.full((6, 3), 33.0)}, "divide at.% by 100"),
    ],
)
def test_a_set_that_breaks_a_rule_cannot_be_made(changes, message):
    with pytest.raises(GlassmapError, match=message):
        replace(small_set(), **changes)


def replaced(file: h5py.File, name: str, *axes: str, **how) -> None:
    """Put another variable in the place of one, on the same axes."""
    attributes = dict(file[name].attrs) if name in file else {}
    del file[name]
    variable = file.create_dataset(name, **how)
    variable.attrs.update({key: value for key, value in attributes.items() if key == "units"})
    for k, axis in enumerate(axes):
        variable.dims[k].attach_scale(file[axis])


def declares_terabytes(file: h5py.File) -> None:
    file.create_dataset("huge", shape=(10**6, 10**7), dtype="f8", chunks=(1000, 1000))  # of which none is there


def takes_bytes_of_another_file(file: h5py.File) -> None:
    replaced(file, "intensity", "sample", "q", shape=(6, 40), dtype="f4", external=[(__file__, 0, 960)])


def links_to_another_file(file: h5py.File) -> None:
    del file["intensity"]
    file["intensity"] = h5py.ExternalLink("elsewhere.nc", "/intensity")


def links_to_itself(file: h5py.File) -> None:
    del file["intensity"]
    file["intensity"] = h5py.SoftLink("/intensity")


def is_scaled_by_a_text(file: h5py.File) -> None:
    file["intensity"].attrs["scale_factor"] = "abc"


def names_coordinates_by_a_number(file: h5py.File) -> None:
    file["intensity"].attrs["coordinates"] = 5


def holds_text_that_is_none(file: h5py.File) -> None:
    values = np.array([b"\xff\xfe\xfd"] * 6).astype(h5py.string_dtype("utf-8", 3))
    replaced(file, "wafer", "sample", data=values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (declares_terabytes, r"declares 74,506 GiB, more than half of this computer's memory"),
        (takes_bytes_of_another_file, "takes 'intensity' from another file; a data set is one file"),
        (links_to_another_file, "takes 'intensity' from another file; a data set is one file"),
        (links_to_itself, "cut short or damaged"),
        (is_scaled_by_a_text, "cut short or damaged"),
        (names_coordinates_by_a_number, "cut short or damaged"),
        (holds_text_that_is_none, "cut short or damaged"),
    ],
)
def test_a_hostile_file_is_refused_in_words(tmp_path: Path, change: Callable[[h5py.File], None], message: str):
    path = tmp_path / "hostile.nc"
    write_dataset(small_set(), path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DatasetError, match=message) as refused:
        read_dataset(path)
    assert str(path) in str(refused.value)


def test_a_harmed_file_is_refused_in_words_or_read_as_it_was(tmp_path: Path):
    path = tmp_path / "harmed.nc"
    write_dataset(small_set(), path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(30):
        harmed = bytearray(content)
        for place in rng.integers(len(harmed), size=rng.integers(1, 64)):
            harmed[place] = rng.integers(256)
        path.write_bytes(harmed)
        with suppress(GlassmapError):  # anything else, also on the way out of a library, fails the test
            np.testing.assert_array_equal(read_dataset(path).intensities, small_set().intensities)

"""Inputs that once gave a wrong result without a word, or were refused with a misleading one: the right value of each.

They lie in a folder beside the checkout, or where GLASSMAP_SHARED_CASES says; without it these tests are skipped.
"""

import os
import shutil
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.data.composition_table import read_composition_table
from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.scan_files import read_raw_scan, read_scans
from glassmap.agent.errors import CampaignError, DatasetError, GlassmapError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.planner import Planner
from glassmap.simulation.potential import read_potential
from tests.support.command_line import glassmap

CASES = Path(os.environ.get("GLASSMAP_SHARED_CASES", Path(__file__).parents[1] / "../shared/cases"))
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases at {CASES}")
ANGLES = np.linspace(20, 60, 41)
PEAK_38 = np.round(100 + 900 * np.exp(-(((np.linspace(20, 80, 61) - 38) / 6) ** 2)))
PEAK_40 = np.round(100 + 900 * np.exp(-(((ANGLES - 40) / 5) ** 2)))


def read(name: str, axis: Any = "two_theta") -> tuple[np.ndarray, np.ndarray]:
    scan = read_raw_scan(CASES / name, axis=axis)
    assert scan.axis_name == axis
    return scan.axis, scan.intensity


# --- scans


def test_of_four_columns_the_intensity_is_the_one_called_so():
    axis, counts = read("panalytical-4col.csv")
    np.testing.assert_array_equal(counts, PEAK_38)
    assert (axis[0], axis[-1], counts.sum()) == (20, 80, 15668)
    scan = read_raw_scan(CASES / "panalytical-4col.csv")
    assert scan.wavelength == pytest.approx((2 * 1.78901 + 1.7929) / 3, abs=1e-5) and scan.sample == "demo"


def test_another_wavelength_than_the_file_s_is_refused_with_both():
    with pytest.raises(DatasetError, match=r"1\.79\d* Å, and 1\.5406 Å was asked for"):
        read_raw_scan(CASES / "panalytical-4col.csv", wavelength=1.5406)


def test_three_scans_side_by_side_are_three():
    scans = read_scans(CASES / "map-side-by-side.txt", axis="two_theta")
    assert [(scan.name, scan.intensity.sum()) for scan in scans] == [("P1", 15668), ("P2", 31336), ("P3", 15668)]


def test_an_index_before_the_columns_is_none_of_them():
    q, intensity = read("pandas-index.csv", "q")
    np.testing.assert_allclose(q, np.linspace(1, 5, 81))
    assert intensity.max() == 1000 and q[intensity.argmax()] == pytest.approx(2.70)


def test_q_in_1_nm_becomes_q_in_1_angstrom():
    q, intensity = read("pyfai-nm.xy", "q")
    np.testing.assert_allclose(q[[0, -1]], [0.05, 5.0])
    assert q[intensity.argmax()] == pytest.approx(2.70, abs=0.03)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("xrdml-area-omega.xrdml", r"differ in Omega.*18, 20, 22"),
        ("xrdml-heating.xrdml", r"differ in temperature.*300, 500, 800"),
        ("xrdml-omega-only.xrdml", r"over Omega at 2θ = 40°.*no scan over 2θ"),
        ("edx-numeric-labels.csv", r"names shares"),
    ],
)
def test_what_is_no_one_scan_is_refused_with_what_it_is(name: str, why: str):
    with pytest.raises(GlassmapError, match=why):
        read_scans(CASES / name, axis="two_theta")


def test_counting_times_that_differ_are_divided_by():
    axis, rate = read("xrdml-counting-times.xrdml")
    assert [rate[axis == at].item() for at in (39, 40, 41, 60)] == pytest.approx([965, 1000, 965, 100])
    assert rate.sum() == pytest.approx(12076)


def test_counts_that_were_set_before_are_divided_by_the_time_they_took():
    axis, rate = read("xrdml-preset-counts.xrdml")
    np.testing.assert_allclose(rate, PEAK_40, rtol=1e-3)
    assert (axis[0], axis[-1]) == (20, 60)


@pytest.mark.parametrize("name", ["brml-no-drives.brml", "brml-with-drives.brml"])
def test_a_bench_top_s_file_without_drives_reads_as_one_with(name: str):
    axis, counts = read(name)
    np.testing.assert_allclose(axis, ANGLES)
    np.testing.assert_array_equal(counts, PEAK_40)
    assert read_raw_scan(CASES / name).wavelength == pytest.approx(1.541863, abs=2e-5)


def test_the_instrument_s_name_of_a_sample_is_read():
    assert read_raw_scan(CASES / "brml-sample-name.brml").sample == "r001-01"


# --- import


def imported(folder: str, output: Path, *words: object) -> tuple[int, str]:
    done = glassmap("import", CASES / folder, "--compositions", CASES / folder / "table.csv", "-o", output, *words)
    return done.exit_code, " ".join(done.output.split())


def test_import_takes_the_columns_that_the_header_names(tmp_path: Path):
    code, said = imported("import-pandas-index", tmp_path / "x.nc")
    assert code == 0, said
    spectra = read_dataset(tmp_path / "x.nc")
    np.testing.assert_allclose(spectra.axis, np.linspace(1, 5, 81))
    np.testing.assert_allclose(spectra.axis[spectra.intensities.argmax(axis=1)], 2.70)


def test_import_of_angles_asks_for_the_axis_and_its_wavelength(tmp_path: Path):
    code, said = imported("import-two-theta-as-q", tmp_path / "x.nc")
    assert code == 3 and "`--axis two_theta --wavelength 1.5406`" in said and not (tmp_path / "x.nc").exists()
    code, said = imported("import-two-theta-as-q", tmp_path / "x.nc", "--axis", "q")
    assert code == 3 and "two_theta, and q was asked for" in said
    code, said = imported("import-two-theta-as-q", tmp_path / "x.nc", "--wavelength", 1.5406)
    assert code == 0 and "2θ 20 to 80°" in said


def test_import_reads_instruments_files(tmp_path: Path):
    code, said = imported("import-xrdml", tmp_path / "x.nc", "--axis", "two_theta", "--wavelength", 1.5406)
    assert code == 0, said
    assert read_dataset(tmp_path / "x.nc").ids == ("a", "b")
    assert "A first peak is found over 2θ 20 to 60° in 2 of 2 scans." in said


# --- tables and names


def test_a_date_in_place_of_a_name_is_refused():
    with pytest.raises(DatasetError, match=r"A date stands where the sample's name belongs, row 1"):
        read_composition_table(CASES / "edx-date.xlsx")


def test_oxygen_is_left_out_where_asked_and_it_is_said():
    table = read_composition_table(CASES / "edx-oxygen.csv", over=("Co", "V", "Zr"))
    assert table.elements == ("Co", "V", "Zr")
    np.testing.assert_allclose(table.compositions, [[0.5, 0.3, 0.2]], atol=1e-9)
    assert any("O 6" in note and "left out" in note for note in table.notes)


def test_the_names_of_samples_in_a_lab(tmp_path: Path):
    lab = tmp_path / "c"
    assert glassmap("init", lab, "--lab", "Co-V-Zr", "--range", 1.5, 4.5, "--columns", "q").exit_code == 0
    settings = lab / "campaign.toml"
    lines = [
        "quiet_seconds = 0" if line.startswith("quiet_seconds") else line for line in settings.read_text().split("\n")
    ]
    settings.write_text("\n".join(lines))
    assert glassmap("run", lab).exit_code == 4
    drop, here = lab / "drop", CASES / "lab-names"
    scan = (here / "3.xy").read_text()
    for folder in ("w1", "w2", "nfd", "date", "numbers"):
        (drop / folder).mkdir(parents=True)
    shutil.copy(here / "edx-slash.csv", drop / "w1" / "edx.csv")
    shutil.copy(here / "3.xy", drop / "w2" / "3.xy")
    table = "sample,Co (at.%),V (at.%),Zr (at.%)\nprobe-\u00e4,40,30,30\n"
    (drop / "nfd" / "edx.csv").write_text(table, encoding="utf-8")
    (drop / "nfd" / (unicodedata.normalize("NFD", "probe-\u00e4") + ".xy")).write_text(scan + "5.05 100\n")
    shutil.copy(CASES / "edx-date.xlsx", drop / "date" / "edx.xlsx")
    (drop / "date" / "3-5.xy").write_text(scan + "5.06 100\n")
    shutil.copy(CASES / "edx-numeric-labels.csv", drop / "numbers" / "edx-wafer7.csv")
    assert glassmap("run", lab).exit_code == 4
    with CampaignStore.read_only(lab) as store:
        (one,) = store.measurements()
        np.testing.assert_allclose(one.composition, [0.4, 0.3, 0.3])
        said = {Path(file.path).name: (file.state, file.reason) for file in store.files() if "w1" not in file.path}
    assert said["3.xy"][0] == said["3-5.xy"][0] == "waiting"
    assert "date" in said["edx.xlsx"][1] and "ow 1" in said["edx.xlsx"][1]
    assert "'Spectrum'" in said["edx-wafer7.csv"][1] and "sample" in said["edx-wafer7.csv"][1]


# --- potentials and campaigns


@pytest.mark.parametrize(
    "name", ["eam-plain.eam.alloy", "eam-extra-value.eam.alloy", "eam-comment-after-elements.eam.alloy"]
)
def test_a_potential_that_lammps_runs_is_taken(name: str):
    potential = read_potential(CASES / name)
    assert potential.style == "eam/alloy" and potential.elements == ("Cu", "Zr")
    assert bool(potential.notes) == (name != "eam-plain.eam.alloy"), potential.notes


def test_a_potential_that_ends_before_its_cutoff_is_refused():
    with pytest.raises(GlassmapError, match=r"6\.01"):
        read_potential(CASES / "eam-cutoff-beyond.eam.alloy")


@pytest.fixture
def started(tmp_path: Path) -> Path:
    assert glassmap("init", tmp_path / "c", "--lab", "Co-V-Zr", "--range", 1.5, 4.5).exit_code == 0
    return tmp_path / "c"


def test_a_frame_that_is_told_again_of_the_next_alloy_and_a_wavelength_as_text(started: Path):
    q = np.linspace(1, 5, 101)
    y = 100 + 900 * np.exp(-(((q - 2.7) / 0.3) ** 2))
    with Planner(started) as planner:
        first, second, third = planner.suggest(3)
        planner.ingest([{"_id": first["_id"], "q": q, "intensity": y}])
        planner.ingest([{"_id": second["_id"], "q": q, "intensity": y}])
        angles = {"two_theta": np.linspace(15, 80, 101), "intensity": y, "wavelength": "1.5406"}
        with pytest.raises(CampaignError, match="wavelength"):
            planner.ingest([{"_id": third["_id"], **angles}])
    with CampaignStore.read_only(started) as store:
        (line,) = [line for line in store.log_lines() if line.event == "duplicate"]
    assert line.detail.startswith(f"told of {second['_id']}, the array of {first['_id']}")


def test_a_store_that_something_holds_is_one_sentence(started: Path, monkeypatch: pytest.MonkeyPatch):
    assert glassmap("run", started).exit_code == 4
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, **{**kw, "timeout": 0.05}))
    with closing(connect(started / "campaign.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = glassmap("abandon", started, "r001-01", "--reason", "test")
    assert done.exit_code == 5 and "Traceback" not in done.output
    said = " ".join(done.output.split())
    assert "is held by another process" in said and "nothing was recorded" in said
    assert "run the same command again" in said

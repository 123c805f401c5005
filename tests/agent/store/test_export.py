"""A campaign as one file: read without glassmap, and taken back as a data set."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

import glassmap
from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.exported import FORMATS, read_exported
from glassmap.agent.errors import GlassmapError
from glassmap.agent.shapes import AxisName
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import run_round
from glassmap.flows.rounds.measure import measure
from glassmap.flows.rounds.plan import plan
from tests.support.campaigns import write_campaign
from tests.support.command_line import glassmap as command
from tests.support.made_up import make_campaign

BACKGROUND = "flat \0 \x1b[2J =1+1"

# What a colleague would type, with pandas and xarray alone.
ELSEWHERE = """
import json, sys
import numpy as np, pandas as pd, xarray as xr
folder = sys.argv[1]
root = xr.open_dataset(f"{folder}/all.nc")
log = xr.open_dataset(f"{folder}/all.nc", group="log").to_dataframe()
curve = xr.open_dataset(f"{folder}/all.nc", group="curve").to_dataframe()
table = pd.read_parquet(f"{folder}/all.parquet")
with open(f"{folder}/all.json") as file:
    plain = json.load(file)
assert "glassmap" not in sys.modules
rows = pd.DataFrame(plain["measurements"])
for spectra in (np.stack(table["intensity"]), np.array(rows["intensity"].tolist(), "f4")):
    assert spectra.astype("f4").tobytes() == root["intensity"].values.tobytes()
for name in ("round", "hold_out", "state", "reason", "backend", "taken"):
    assert table[name].tolist() == rows[name].tolist()
    assert [str(x).replace("\\0", "\\\\x00") for x in table[name]] == [str(x) for x in root[name].values]
assert table["hold_out"].dtype == bool and root["hold_out"].dtype == bool
for element in root["element"].values:
    assert np.array_equal(table[element], root["composition"].sel(element=element))
    assert np.array_equal(table[f"{element}_target"], root["target"].sel(element=element), equal_nan=True)
assert np.array_equal(table.attrs["axis"], root["q"]) and plain["axis"] == table.attrs["axis"]
assert len(log) == len(plain["log"]) == len(pd.DataFrame(json.loads(table.attrs["log"])))
assert curve["mse"].tolist() == [one["mse"] for one in plain["curve"]] and len(curve) == 3
print(json.dumps({"states": table["state"].tolist(), "decisions": plain["decisions"],
    "exclusions": plain["exclusions"], "not_measured": [one["state"] for one in plain["not_measured"]]}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with measurements of every state, one that nobody asked for, and an alloy that is rejected."""
    folder = tmp_path_factory.mktemp("exported") / "mine"
    make_campaign(folder, step_at_pct=5, rounds=3, batch=5, end="waiting")
    with CampaignStore.amend(folder, person="ada") as store, store.transaction():
        store.set_measurement_state("r001-01", "retracted", "film came off")
        store.set_measurement_state("r001-02", "flagged", BACKGROUND)
        store.record_exclusion("r004-05", "rejected", "too brittle")
        found = np.array([0.5, 0.25, 0.25])
        spectrum = np.random.default_rng(0).normal(size=len(store.axis()[1]))
        store.record_spectrum(None, found, spectrum, backend="lab", facts={"edx": [1, 2]}, id_="u0001", round_=4)
    for ending in FORMATS:
        assert glassmap.Campaign(folder).export(folder / f"all{ending}") == 18
    return folder


def test_pandas_and_xarray_read_all_of_it_without_glassmap(folder: Path):
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, folder], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["states"] == ["retracted", "flagged", *["used"] * 16]
    assert [one["state"] for one in told["decisions"]] == ["continue"] * 3
    assert [(one["suggestion"], one["kind"], one["person"]) for one in told["exclusions"]] == [
        ("r004-05", "rejected", "ada")
    ]
    assert told["not_measured"] == ["missing", "missing", "missing", "rejected"], (
        "one of them again, as it is retracted"
    )


@pytest.mark.parametrize("ending", FORMATS)
def test_spectra_come_back_to_the_bit_whichever_the_format(folder: Path, ending: str):
    with CampaignStore.read_only(folder) as store:
        recorded = list(store.recorded())
    read = read_exported(folder / f"all{ending}")
    assert read.ids == tuple(one.measurement.id for one in recorded)
    assert read.intensities.dtype == np.float32
    assert read.intensities.tobytes() == b"".join(one.spectrum.tobytes() for one in recorded)
    np.testing.assert_allclose(read.compositions, [one.measurement.composition for one in recorded], atol=1e-15)
    assert read.coordinates["state"].tolist() == [one.measurement.state for one in recorded]
    assert [json.loads(facts) for facts in read.coordinates["facts"]] == [one.measurement.facts for one in recorded]
    assert np.isnan(read.coordinates["target"]).all(axis=1).tolist() == [one.target is None for one in recorded]
    assert "2 of 18 measurements are flagged or retracted; `--where state=used`" in read.notes[-1]


@pytest.mark.parametrize("ending", FORMATS)
def test_what_was_exported_is_imported_and_replayed(folder: Path, tmp_path: Path, ending: str):
    result = command("import", folder / f"all{ending}", "-o", tmp_path / "set.nc")
    assert result.exit_code == 0 and "Wrote 18 spectra of Zr-Cu-Al" in result.output, result.output
    set_, again = read_dataset(tmp_path / "set.nc"), read_exported(folder / f"all{ending}")
    assert set_.ids == again.ids and set_.intensities.tobytes() == again.intensities.tobytes()


def test_an_export_is_replayed_as_it_is(folder: Path, tmp_path: Path):
    used = {"elements": ["Zr", "Cu", "Al"]}, {"where": "state=used"}
    write_campaign(tmp_path, folder / "all.nc", space=used[0], backend=used[1])
    with open_campaign(tmp_path) as campaign:
        assert run_round(campaign, 1, stages={"plan": plan, "measure": measure})
        ids, _, spectra = campaign.store.spectra(hold_out=False)
        assert len(ids) == 8
        known = read_dataset(folder / "all.nc").prepared(scale="smoothed maximum").intensities
        assert all((np.abs(known - spectrum).max(axis=1) < 1e-4).any() for spectrum in spectra)


def test_an_export_may_be_of_2_theta_or_of_distances(folder: Path, tmp_path: Path):
    with CampaignStore.amend(folder, person="ada") as store:
        axis = store.axis()[1]
    cases: list[tuple[AxisName, float | None]] = [("two_theta", 1.5406), ("r", None)]
    for name, wavelength in cases:
        with CampaignStore.open(tmp_path / name) as store, store.transaction():
            store.record_axis(name, axis, wavelength)
            store.record_start(["Co", "V"], config={"name": name}, source="simulated with Zhou (synthetic)")
            store.record_spectrum(None, np.array([0.3, 0.7]), axis, backend="simulation", id_="u0001", round_=1)
        sets = list[SpectraSet]()
        for ending in FORMATS:
            glassmap.Campaign(tmp_path / name).export(tmp_path / f"{name}{ending}")
            sets.append(read_exported(tmp_path / f"{name}{ending}"))
        for one in sets:
            assert (one.axis_name, one.wavelength) == (name, wavelength)
            assert one.attributes == {
                "title": f"Campaign {name}",
                "glassmap": glassmap.__version__,
                "potential": "Zhou (synthetic)",
            }
            assert one.units == {"target": "at.%"} | ({} if name == "r" else {"intensity": "percent"})


def test_an_export_that_fails_leaves_the_file_that_was_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "old.nc").write_text("old")

    def fail(self: CampaignStore) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CampaignStore, "curve", fail)
    assert "The disk is full" in command("export", folder, "-o", tmp_path / "old.nc").output
    assert [path.name for path in tmp_path.iterdir()] == ["old.nc"] and (tmp_path / "old.nc").read_text() == "old"


def test_a_harmed_measurement_is_not_exported(folder: Path, tmp_path: Path):
    copytree(folder, tmp_path / "harmed")
    with closing(sqlite3.connect(tmp_path / "harmed" / "campaign.db")) as db, db:  # by no statement of a store
        for (trigger,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("UPDATE spectra SET intensity = zeroblob(length(intensity)) WHERE id = 'r002-03'")
    said = command("export", tmp_path / "harmed", "-o", tmp_path / "all.nc").output
    assert "is damaged" in said and "r002-03" in said and not (tmp_path / "all.nc").exists()


def test_what_can_not_be_exported_is_said_in_words(folder: Path, tmp_path: Path):
    assert "An export ends in .nc, .parquet, .json" in command("export", folder, "-o", tmp_path / "all.csv").output
    with CampaignStore.open(tmp_path / "new") as store, store.transaction():
        store.record_start(["Co", "V"])
    assert "Nothing is measured yet" in command("export", tmp_path / "new", "-o", tmp_path / "all.nc").output
    assert "No campaign has been started" in command("export", tmp_path / "none", "-o", tmp_path / "all.nc").output


def test_several_formats_are_written_at_once(folder: Path, tmp_path: Path):
    files = {name: tmp_path / f"all.{name}" for name in ("nc", "parquet", "json")}
    said = command("export", folder, *(word for file in files.values() for word in ("-o", file))).output
    assert said.count("Wrote") == 3 and all(file.stat().st_size for file in files.values())


@pytest.mark.parametrize("ending", [".parquet", ".json"])
def test_a_damaged_export_is_refused_in_words(folder: Path, tmp_path: Path, ending: str):
    content, whole = (folder / f"all{ending}").read_bytes(), read_exported(folder / f"all{ending}").intensities
    rng, path = np.random.default_rng(0), tmp_path / f"all{ending}"
    for harm in range(60):
        harmed = bytearray(content[: rng.integers(len(content))] if harm % 4 == 0 else content)
        for place in rng.integers(len(harmed), size=3) if harm % 4 else ():
            harmed[place] ^= 1 << rng.integers(8)
        path.write_bytes(harmed)
        try:
            read = read_exported(path)
        except GlassmapError as error:
            assert str(path) in str(error)
        else:  # a digit of JSON is as good as another
            assert ending == ".json" or np.array_equal(read.intensities, whole)

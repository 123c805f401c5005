"""Campaigns that earlier versions began go on with this one: nothing is lost, nothing has to be begun anew.

`support/campaigns-COMMIT.tar.xz` holds what a commit left, of a file that spells no defaults out: 2c2e2cb, one of the
first, and 1be5433, the last of 0.3, replays that were cut in round 3 of 4 while they trained, the latter judged by what
is held out of each batch; 2bab254 (of a migration that was edited since, the first laboratory), b62b994 (the first that
ran on a schedule) and 4de59e1 (the last of 0.2, guided by a replay) a laboratory whose second round is ordered.
`support/campaigns-0.1.tar.xz` holds what version 0.1 left: `replay`, paused after two of four rounds with r001-03
retracted, and `lab`, whose second round is ordered and partly delivered: one alloy rejected, one abandoned, one failed,
one measurement flagged, one scan without a composition, three files quarantined.
"""

import hashlib
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.errors import CampaignError
from glassmap.agent.maps.spectra_archive import read_archive, read_map
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.app import PAGES
from glassmap.dashboard.data import Unreadable, read_campaign
from tests.support.campaigns import rows, run
from tests.support.command_line import does, glassmap
from tests.support.lab_campaigns import edit, measure_all
from tests.support.pages import look, words

ALLOY = "Co30V40Zr30"
READING = ("status", "log", "ledger", "orders", "trace")
# What version 0.1 itself found in its rounds 3 and 4: rows of the data set, and the hold-out MSE.
ROWS_OF_BEFORE = {3: [82, 55, 19, 16, 4, 63, 51, 1], 4: [52, 99, 37, 96, 103, 56, 40, 46]}
MSE_OF_BEFORE = [3.7374861577743586, 0.2908580974830154, 0.19586888432157004, 0.17452207126197714]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The campaigns as version 0.1 left them."""
    return unpack("0.1", tmp_path)


def unpack(version: str, folder: Path) -> Path:
    with tarfile.open(Path(__file__).parent / "support" / f"campaigns-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file of a campaign but those that SQLite makes to read."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def facts(folder: Path, *, store: str = "campaign.db") -> dict[str, list[tuple[Any, ...]]]:
    """What is recorded and must never change, of a store of any version, in the words of today."""
    with closing(sqlite3.connect(f"{(folder / store).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        excluded = ("exclusions", "kind") if "exclusions" in tables else ("verdicts", "verdict")
        queries = {
            "suggestions": "SELECT id, round, position, row, composition, hold_out FROM suggestions ORDER BY id",
            "spectra": """SELECT id, suggestion, round, hold_out, composition, intensity, backend, taken, facts,
                replace(state, 'doubtful', 'flagged'), reason, screened FROM spectra ORDER BY id""",
            "batches": "SELECT round, separation, worst, mean, ordered, approved FROM batches ORDER BY round",
            "curve": "SELECT round, spectra, mse, mse_sample, next_batch_mse FROM curve ORDER BY round",
            "artefacts": "SELECT round, kind, path FROM artefacts WHERE kind <> 'atlas' ORDER BY round, kind",
            "decisions": "SELECT round, state, reason, improvements FROM decisions ORDER BY round",
            "failures": "SELECT suggestion, reason, time FROM failures ORDER BY suggestion",
            "excluded": f"SELECT suggestion, {excluded[1]}, reason, person, time FROM {excluded[0]} ORDER BY 1",
            "files": "SELECT id, path, size, hash, kind, state, reason, measurement FROM files ORDER BY id",
            "samples": "SELECT id, name, composition, file FROM samples ORDER BY id",
            "axes": "SELECT * FROM axes",
            "log": "SELECT id, time, person, event, subject, detail FROM log ORDER BY id",
        }
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def assert_kept(folder: Path, before: dict[str, list[tuple[Any, ...]]]) -> None:
    """All that was recorded is still there; more may have come."""
    now = facts(folder)
    for table, lines in before.items():
        lost = [line for line in lines if line not in now[table]]
        assert not lost, f"{table} lost {lost}"


# --- looked at


@pytest.mark.parametrize("name", ["replay", "lab"])
def test_what_only_reads_works_at_once_and_changes_nothing(before: Path, name: str):
    folder = before / name
    found = contents(folder)
    for command in READING:
        does(command, folder, *(["r001-03"] if command == "trace" else []))
    assert "Δq 0.5" in does("trace", folder, ALLOY)
    campaign = read_campaign(folder)
    assert not isinstance(campaign, Unreadable)
    assert len(campaign.curve) == {"replay": 2, "lab": 1}[name]
    assert contents(folder) == found


def test_what_is_read_is_what_was_recorded(before: Path):
    with CampaignStore.read_only(before / "lab") as store:
        states = {one.suggestion.id: one.state for one in store.suggestion_statuses(2)}
        flagged = store.measurement("r001-05")
    assert states == {
        "r002-01": "rejected",
        **dict.fromkeys(("r002-02", "r002-03", "r002-04", "r002-05", "r002-08", "r002-09"), "missing"),
        "r002-06": "abandoned",
        "r002-07": "failed",
    }
    assert flagged is not None and (flagged.state, flagged.reason) == (
        "flagged",
        "its first peak lies far from its neighbours'",
    )
    with CampaignStore.read_only(before / "replay") as store:
        retracted = store.measurement("r001-03")
        mse = [point.mse for point in store.curve()]
        status = store.status()
    assert retracted is not None and (retracted.state, retracted.reason) == ("retracted", "wrong wafer")
    assert mse == MSE_OF_BEFORE[:2]
    assert status.state == "paused" and "moving to the new glassmap" in does("status", before / "replay")


@pytest.mark.usefixtures("pictures_unseen")
@pytest.mark.parametrize("name", ["replay", "lab"])
def test_its_model_and_map_are_drawn_and_asked(before: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(before)
    folder = before / name
    with CampaignStore.read_only(folder) as store:
        _, path = store.artefact("map") or (0, Path())
    columns, _ = read_map(path)
    assert np.isfinite(columns["delta_q"]).any()
    does("map", folder)
    does("generate", folder, ALLOY)
    assert list((folder / "generated").glob("*.csv"))
    does("report", folder)
    assert list(before.glob("report*"))


@pytest.mark.parametrize("name", ["replay", "lab"])
def test_peak_figures_of_before_come_under_the_names_of_now(before: Path, name: str):
    """What is older than a figure lacks it; the errors of the curve and the spectra of the archive are all there."""
    with closing(sqlite3.connect(before / name / "campaign.db")) as connection:
        recorded = connection.execute("SELECT delta_q_error, q1_error FROM curve ORDER BY round").fetchall()
    with CampaignStore.read_only(before / name) as store:
        (_, map_), archived, curve = store.artefact("map") or (0, Path()), store.artefact("archive"), store.curve()
    errors = [(point.hold_out["delta_q"].value, point.hold_out["q1"].value) for point in curve]
    assert errors == recorded and not any(point.judged_by for point in curve)
    columns, _ = read_map(map_)
    figures = {"q1", "q1_std", "delta_q", "delta_q_std", "peak_share", "distance", "expected_error", "known"}
    assert set(columns) == figures | {"Co", "V", "Zr"}
    assert archived is not None
    archive = read_archive(archived[1])
    assert set(archive.measured.figures) == set(archive.known.figures) == {"delta_q", "q1"}
    view = archive.view(archive.row_of_measured(0))
    assert all(np.isfinite(spectrum).all() for spectrum in (view.mean, view.epistemic_std, view.aleatoric_std))


@pytest.mark.parametrize("name", ["replay", "lab"])
def test_every_page_of_the_dashboard_shows_it(before: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    shown = "\n".join(words(look(monkeypatch, before / name, page)) for page in PAGES)
    assert {"replay": "moving to the new glassmap", "lab": "**Missing:** r002-02, r002-03"}[name] in shown


# --- gone on with


def test_the_first_command_that_writes_keeps_a_copy_of_the_store_and_every_row(before: Path):
    folder = before / "replay"
    recorded = facts(folder)
    does("resume", folder)
    copies = [path.name for path in folder.glob("campaign.db.*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(copies) == 1
    assert facts(folder, store=copies[0]) == recorded
    assert_kept(folder, recorded)
    does("status", folder)
    assert "resumed" in does("log", folder)


def test_a_replay_goes_on_to_the_end_that_it_would_have_had(before: Path):
    folder = before / "replay"
    recorded = facts(folder)
    does("resume", folder)
    does("run", folder)
    assert_kept(folder, recorded)
    with CampaignStore.read_only(folder) as store:
        assert store.status().state == "exhausted"
        planned = {round_: [s.row for s in store.suggestions(round_=round_)] for round_ in (3, 4)}
        mse = [point.mse for point in store.curve()]
        models = store.artefacts("checkpoint")
    assert planned == ROWS_OF_BEFORE
    np.testing.assert_allclose(mse, MSE_OF_BEFORE, rtol=1e-3)  # the networks' last bits are the machine's
    assert all(TrainedEnsemble.load(path, device="cpu") for path in models.values())
    does("map", folder)
    does("generate", folder, ALLOY)


def test_a_laboratory_goes_on_with_what_lies_in_its_drop_folder(before: Path):
    folder = before / "lab"
    recorded = facts(folder)
    does("accept", folder, "r001-05", "--reason", "its neighbours are the odd ones")
    does("run", folder)
    with CampaignStore.read_only(folder) as store:
        states = {one.suggestion.id: one.state for one in store.suggestion_statuses(2)}
        accepted = store.measurement("r001-05")
    assert accepted is not None and accepted.state == "used"
    assert {states[f"r002-{k:02d}"] for k in (2, 3, 4)} <= {"measured", "flagged"}
    does("retract", folder, "r002-03", "--reason", "saturated")
    does("retry", folder, "r002-07")
    does("go-on", folder, "--reason", "the furnace is gone")
    does("run", folder)
    with CampaignStore.read_only(folder) as store:
        assert len(store.curve()) == 2
        assert {*(store.training_ids(2) or [])} >= {"r001-05", "r002-02"}
        assert "r002-03" not in (store.training_ids(2) or [])
        assert store.artefact("map", 2) is not None
        assert len(store.suggestions(round_=3)) == 8
    does("approve", folder)
    does("run", folder)
    assert (folder / "orders" / "round-003.csv").exists()
    now = facts(folder)
    changed = {"r001-05"}  # accepted
    recorded["spectra"] = [row for row in recorded["spectra"] if row[0] not in changed]
    del recorded["failures"]  # r002-07 is tried again
    assert_kept(folder, recorded)
    assert {row[0] for row in now["spectra"]} >= {"r001-05", "r002-02", "r002-03", "r002-04"}


def test_a_lost_model_of_before_is_trained_again_without_what_was_retracted_since(before: Path):
    folder = before / "replay"
    for round_ in (1, 2):
        with CampaignStore.read_only(folder) as store:
            _, path = store.artefact("checkpoint", round_) or (0, Path())
        path.unlink()
        path.with_suffix(".safetensors").unlink()
    does("resume", folder)
    does("run", folder)
    with CampaignStore.read_only(folder) as store:
        assert store.status().state == "exhausted"
        assert {s.row for s in store.suggestions(round_=3)} == set(ROWS_OF_BEFORE[3])
        assert len(store.training_ids(2) or []) == 15


# --- of commits of the past

PAST = {"2c2e2cb": "replay", "2bab254": "lab", "b62b994": "lab", "4de59e1": "guided", "1be5433": "replay"}
READABLE = ("4de59e1", "1be5433")  # whose models can still be


def kept(folder: Path) -> dict[str, set[tuple[Any, ...]]]:
    """What every version recorded in the same columns."""
    queries = {
        "suggestions": "SELECT id, round, position, row, composition, hold_out FROM suggestions",
        "spectra": "SELECT id, composition, intensity, taken FROM spectra",
        "curve": "SELECT round, spectra, mse FROM curve",
        "decisions": "SELECT round, state, reason, improvements FROM decisions",
        "log": "SELECT id, time, event, detail FROM log",
    }
    return {name: {*rows(folder, query)} for name, query in queries.items()}


@pytest.fixture(params=PAST)
def past(request: pytest.FixtureRequest, before: Path) -> Path:
    """A campaign as a commit of the past left it."""
    return unpack(request.param, before / request.param) / PAST[request.param]


def test_a_campaign_of_the_past_goes_on_to_its_stop(past: Path, before: Path):
    (past.parent / "small.nc").symlink_to(before / "small.nc")
    recorded, settings = kept(past), json.loads(rows(past, "SELECT value FROM settings WHERE key = 'config'")[0][0])
    while (status := run(past)).state == "waiting":
        assert status.round is not None and status.missing
        measure_all(past, status.round)
    assert status.state == "exhausted"
    now = kept(past)
    assert all(recorded[name] <= now[name] for name in recorded), "nothing is begun anew"
    with CampaignStore.read_only(past) as store:
        assert len(store.curve()) == settings["stop"]["max_rounds"] + (settings.get("guide") or {"rounds": 0})["rounds"]
        goes_on_with = store.config
        models = store.artefacts("checkpoint")
    assert all(goes_on_with["model"][name] == settings["model"][name] for name in ("members", "batch_size", "jitter"))
    assert goes_on_with["model"]["stacked"] == settings["model"].get("stacked", False)
    assert TrainedEnsemble.load(models[max(models)], device="cpu")
    mended = any(event == "trained again" for _, _, event, _ in now["log"])
    assert mended == (past.parent.name not in READABLE), (
        "a model that can't be read is trained again, and that is logged"
    )
    assert list(past.glob("campaign.db.v*")), "a copy of the store as it was"


def test_models_of_the_past_are_judged_again_by_what_is_held_out_now(before: Path):
    """Until then the curve is as it was: each round by what had been held out by then, without a standard error."""
    past = unpack("1be5433", before / "past") / "replay"
    (past.parent / "small.nc").symlink_to(before / "small.nc")
    recorded = [row for (row,) in rows(past, "SELECT mse FROM curve ORDER BY round")]
    with CampaignStore.read_only(past) as store:
        then = store.curve()
    assert [point.mse for point in then] == recorded and not any(point.judged_by for point in then)
    run(past)
    with CampaignStore.read_only(past) as store:
        now = store.curve()
    assert [point.judged_by for point in now] == [8, 8, 8, 8], "two of each batch"
    assert now[0].mse != recorded[0] and all(point.hold_out["mse"].standard_error > 0 for point in now)
    assert now[3].left_out["mse"].value > 0 and not now[0].left_out, "nobody knows any more what they had left out"


def test_a_campaign_of_the_past_is_looked_at_as_it_is(past: Path):
    found = contents(past)
    for command in READING:
        does(command, past, *(["r001-03"] if command == "trace" else []))
    campaign = read_campaign(past)
    assert not isinstance(campaign, Unreadable)
    assert campaign.settings.batch == (8 if past.name == "replay" else 6) and campaign.settings.stop.max_spectra is None
    assert campaign.map is not None and {"distance", "delta_q", "delta_q_std"} <= {*read_map(campaign.map[1])[0]}
    refused = glassmap("extend", past, "--spectra", 5).output
    assert "sets no limit stop.max_spectra" in refused
    assert {name: digest for name, digest in contents(past).items() if name in found and name != "campaign.db"} == {
        name: digest for name, digest in found.items() if name != "campaign.db"
    }


def test_a_changed_setting_is_refused_before_the_store_is_brought_up_to_date(past: Path, before: Path):
    (past.parent / "small.nc").symlink_to(before / "small.nc")
    edit(past, "steps = 20", "steps = 30")
    found = contents(past)
    with pytest.raises(CampaignError, match="Changed since the campaign began: model"):
        run(past)
    assert {name: digest for name, digest in contents(past).items() if name in found} == found
    assert not list(past.glob("campaign.db.v*"))

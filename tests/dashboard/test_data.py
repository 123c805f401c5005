"""What the dashboard knows of campaigns in every state."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from glassmap.agent.errors import ModelError
from glassmap.agent.maps.spectra_archive import read_archive, read_map
from glassmap.agent.peaks.measures import MSE
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.data import (
    Unreadable,
    find_campaigns,
    map_changes,
    marker,
    read_batch,
    read_campaign,
    read_last_archive,
    read_last_log_lines,
    read_log_words,
)
from glassmap.dashboard.learning import expected_of
from glassmap.dashboard.live import ago
from glassmap.flows.rounds.campaign import open_campaign
from tests.support.campaigns import run, write_campaign
from tests.support.made_up import make_campaign
from tests.support.pages import known


def test_campaigns_are_found_in_their_folder_and_in_its_parent(campaigns: Path):
    inside = find_campaigns([campaigns])
    assert {folder.name for folder in inside} >= {"converged", "waiting", "failed", "broken", "new"}
    assert find_campaigns([campaigns / "waiting", campaigns / "waiting"]) == [(campaigns / "waiting").resolve()]


@pytest.mark.parametrize(
    ("name", "state", "says"),
    [
        ("converged", "converged", "Converged after 12 spectra"),
        ("waiting", "waiting", "Waiting for 3 of 5 measurements of round 4 since"),
        ("failed", "failed", "LAMMPS is not there"),
    ],
)
def test_a_campaign_says_in_words_where_it_stands(campaigns: Path, name: str, state: str, says: str):
    campaign = known(campaigns / name)
    assert campaign.state == state and says in campaign.status.reason
    assert campaign.status.needs_person == (state == "failed")


@pytest.mark.parametrize(
    ("name", "state", "says"), [("broken", "broken", "glassmap repair"), ("new", "new", "glassmap run")]
)
def test_what_can_t_be_read_says_why_and_what_to_do(campaigns: Path, name: str, state: str, says: str):
    found = read_campaign(campaigns / name)
    assert isinstance(found, Unreadable) and found.state == state and says in found.reason


def test_nobody_at_a_campaign_that_could_go_on_is_told_from_running(small_dataset: Path, tmp_path: Path):
    write_campaign(tmp_path, small_dataset)
    with open_campaign(tmp_path) as campaign:
        campaign.store.start_stage(1, "plan")
        assert known(tmp_path).state == "running"
    assert known(tmp_path).state == "idle"
    assert not known(tmp_path).round_at_work, "pages show a batch once it is planned"


def test_the_marker_changes_with_every_commit_and_only_then(campaigns: Path):
    folder = campaigns / "converged"
    before = marker(folder)
    assert marker(folder) == before
    with CampaignStore.amend(folder, person="somebody") as store, store.transaction():
        store.log("looked")
    assert marker(folder) != before


def test_maps_of_consecutive_rounds_are_compared(campaigns: Path):
    changes = map_changes(known(campaigns / "converged"), [1, 2, 3])
    assert set(changes) == {2, 3}, "the first has none before it"
    assert all(0 < mean <= largest for mean, largest in changes.values())
    assert changes[3][0] < changes[2][0]


def test_times_are_said_as_people_do():
    now = datetime.now(UTC)
    assert [ago(now - timedelta(minutes=minutes)) for minutes in (0, 1, 125, 60 * 24 * 3)] == [
        "just now",
        "1 minute ago",
        "2 hours ago",
        "3 days ago",
    ]


def test_the_archive_of_a_round_holds_what_its_model_says(replayed: Path):
    campaign = known(replayed)
    archive = read_last_archive(campaign)
    assert archive is not None and archive.round == 2
    assert len(archive.generated) == 171 + len(archive.measured.ids), "a small space is kept whole"
    row = archive.row_of(np.array([0.3, 0.4, 0.3]))
    assert row is not None and archive.row_of(np.array([0.301, 0.4, 0.299])) is None
    held = np.flatnonzero(archive.measured.hold_out).tolist()
    generated = [archive.view(archive.row_of_measured(k)).mean for k in held]
    mse = [
        np.mean((ours - archive.measured_spectrum(k).intensity) ** 2) for ours, k in zip(generated, held, strict=True)
    ]
    np.testing.assert_allclose(mse, archive.mse[held], rtol=0.02, atol=0.01)  # of three digits
    np.testing.assert_allclose(np.mean(archive.mse[held]), campaign.curve[-1].mse, rtol=1e-2)
    assert list((replayed / "maps").glob("*.h5")) == [archive.path], "the one before is gone"
    assert archive.path.name.startswith("round-002-")


def test_the_fit_in_the_archive_is_a_peak_of_the_width_on_the_map(replayed: Path):
    campaign = known(replayed)
    archive = read_last_archive(campaign)
    assert archive is not None
    found = np.flatnonzero(np.isfinite(archive.measured.figures["q1"]))
    assert len(found)
    for k in found[:20]:
        intensity, fit = archive.measured_spectrum(int(k))
        inside = np.isfinite(fit)
        top = campaign.axis[inside][np.argmax(fit[inside])]
        assert abs(top - archive.measured.figures["q1"][k]) < 0.5 * archive.measured.figures["delta_q"][k]
        assert np.abs(fit - intensity)[inside].mean() < 10


def test_no_archive_and_no_map_are_said_in_words(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="is no archive"):
        read_archive(tmp_path / "x")
    with pytest.raises(ModelError, match="is no map"):
        read_map(tmp_path / "x")


def test_what_the_next_two_batches_would_bring_is_expected_from_the_third_round_on(campaigns: Path):
    campaign = known(campaigns / "waiting")
    assert [one.spectra for one in expected_of(campaign, MSE)] == [16, 20], "12 learned from, and 4 of each batch"
    assert all(one.error.value < campaign.curve[-1].mse for one in expected_of(campaign, MSE))
    assert expected_of(campaign._replace(curve=campaign.curve[:2]), MSE) == []


def test_a_round_is_never_half_on_screen_while_a_campaign_runs(small_dataset: Path, tmp_path: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 3, "tolerance": 0.001})
    seen = set()
    with ThreadPoolExecutor(1) as driver:
        running = driver.submit(run, tmp_path)
        while not running.done():
            sleep(0.03)  # or the driver would hardly get on
            campaign = read_campaign(tmp_path)
            if isinstance(campaign, Unreadable):
                assert campaign.state == "new", campaign.reason
                continue
            seen.add(len(campaign.curve))
            assert len(campaign.coverage) == campaign.round_at_work
            assert all(point.spectra <= campaign.status.spectra for point in campaign.curve)
            assert set(campaign.decisions) <= {point.round for point in campaign.curve}
            assert set(campaign.maps) <= {point.round for point in campaign.curve}
    assert running.result().rounds == 3 and len(seen) > 2


def test_a_state_is_as_small_with_many_measurements_as_with_few(tmp_path: Path):
    sizes = []
    for batch in (5, 100):
        make_campaign(tmp_path / f"{batch:03}", step_at_pct=2, rounds=2, batch=batch)
        sizes.append(len(pickle.dumps(known(tmp_path / f"{batch:03}"))))
    assert sizes[1] < 1.1 * sizes[0]


def test_a_batch_knows_what_was_asked_for_before_and_what_was_found(campaigns: Path):
    batch = read_batch(campaigns / "waiting", 4)
    assert len(batch.statuses) == 5 and len(batch.missing) == 3 and len(batch.found) == 2
    assert batch.rounds_before == [1] * 5 + [2] * 5 + [3] * 5 and batch.before.shape == (15, 3)
    first = read_batch(campaigns / "waiting", 1)
    assert first.rounds_before == [] and first.before.shape == (0, 3) and first.missing == []


def test_the_last_lines_of_the_log_are_found_by_what_who_and_words(campaigns: Path):
    folder = campaigns / "converged"
    lines, fitting = read_last_log_lines(folder, 2, events=["planned"], people=[], text="")
    assert fitting == 3 and [line.detail for line in lines] == ["round 3: 5 alloys", "round 2: 5 alloys"]
    lines, fitting = read_last_log_lines(folder, 10, events=[], people=["glassmap"], text="ROUND 2")
    assert fitting == len(lines) and {line.event for line in lines} == {"planned", "trained", "decided"}
    assert read_last_log_lines(folder, 10, events=[], people=["nobody"], text="") == ([], 0)
    known_words = read_log_words(folder)
    assert {"campaign started", "decided", "measured", "planned", "trained"} <= set(known_words.events)
    assert known_words.events == sorted(known_words.events) and "glassmap" in known_words.people

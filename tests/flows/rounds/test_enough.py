"""Enough of a wafer, in a campaign: reckoned after each measurement, said, and never outdated."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.planning.enough import FEWEST
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import ExcludedWafer
from glassmap.flows import planner as planner_module
from glassmap.flows.actions import retract
from glassmap.flows.planner import Planner
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.measure import measure as measure_stage
from glassmap.flows.rounds.plan import plan as plan_stage
from tests.support.campaigns import TINY, run, write_campaign
from tests.support.laboratory import CU, scan_text, true_spectrum

ELEMENTS = ("Co", "V", "Zr")
SIDE, PITCH = 7, 3  # points a row of the wafer; at.% from one to the next
Q = np.linspace(1.2, 4.8, 150)


def write_table(path: Path) -> dict[str, np.ndarray]:
    """A wafer W3 of 49 points; returns what each holds, atomic fraction."""
    points = {
        f"W3-{SIDE * row + column + 1:02d}": (column, row, np.array([30 + PITCH * column, 20 + PITCH * row]))
        for row in range(SIDE)
        for column in range(SIDE)
    }
    lines = [f"{name},W3,{5 * c},{5 * r},{co},{v},{100 - co - v}" for name, (c, r, (co, v)) in points.items()]
    path.write_text("\n".join(["sample,wafer,x (mm),y (mm),Co (at.%),V (at.%),Zr (at.%)", *lines, ""]))
    return {name: np.append(shares, 100 - shares.sum()) / 100 for name, (_, _, shares) in points.items()}


def config(folder: Path, *, batch: int = 32, **changes: Any) -> CampaignConfig:
    settings = TINY | {
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": {"kind": "lab", "columns": "q"},
        "planning": {"batch": batch},
        "candidates": {"table": str(folder / "edx.csv")},
    }
    return CampaignConfig.of(settings | changes, source="test")


def measured(point: Mapping[str, Any]) -> dict[str, Any]:
    composition = np.array([point[element] for element in ELEMENTS]) / 100
    return {**point, "q": Q, "intensity": true_spectrum(composition, Q)}


def finish_telling() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("notices"):
            thread.join()


def enough_lines(store: CampaignStore) -> list[str]:
    return [line.detail for line in store.log_lines() if line.event == "enough"]


def test_a_wafer_is_measured_point_by_point_until_it_is_enough_and_that_is_said_once(tmp_path: Path):
    write_table(tmp_path / "edx.csv")
    with Planner(tmp_path, config(tmp_path)) as planner:
        asked, told = planner.suggest(32), list[dict[str, Any]]()
        assert planner.enough() == []
        for k, point in enumerate(asked, start=1):
            planner.ingest([measured(point)])
            (now,) = planner.enough()
            assert (now["wafer"], now["measured"], now["points"]) == ("W3", k, SIDE**2)
            told.append(now)
    gains = [one["gain"] for one in told]
    first = next(k for k, one in enumerate(told, start=1) if one["is_enough"])
    assert gains[: FEWEST - 1] == [None] * (FEWEST - 1) and FEWEST <= first <= 32
    assert all(one["is_enough"] and one["gain"] < one["tolerance"] == 0.05 for one in told[first - 1 :])
    assert told[first - 1]["sentence"].startswith(
        f"enough of W3, {first} of 49 measured: the others would lower the MSE"
    )
    with CampaignStore.read_only(tmp_path) as store:
        assert enough_lines(store) == [told[first - 1]["sentence"]]
        status = store.status()
        assert "Enough of W3, 32 of 49 measured: the others would lower the MSE by" in status.reason
        assert status.to_json()["wafers"][0]["sentence"] == told[-1]["sentence"]


def test_the_next_points_are_left_on_the_wafer_and_say_where_they_lie(tmp_path: Path):
    table = write_table(tmp_path / "edx.csv")
    with Planner(tmp_path, config(tmp_path)) as planner:
        planner.suggest()  # plans, from which on it is known which points there are
        corner = [{"Co": 30 + PITCH * c, "V": 20 + PITCH * r, "wafer": "W3"} for r in range(4) for c in range(4)]
        planner.ingest([measured(point | {"Zr": 100 - point["Co"] - point["V"]}) for point in corner])
        (now,) = planner.enough()
    assert (now["measured"], now["points"], now["is_enough"]) == (16, 49, False), "found by what they hold"
    following = [one["sample"] for one in now["next"]]
    assert len(set(following)) == 5 and not {f"W3-{SIDE * r + c + 1:02d}" for r in range(4) for c in range(4)} & {
        *following
    }
    for one in now["next"]:
        np.testing.assert_allclose([one[element] / 100 for element in ELEMENTS], table[one["sample"]])
        assert (one["x"], one["y"]) == ((one["Co"] - 30) / PITCH * 5, (one["V"] - 20) / PITCH * 5)


def test_what_was_measured_before_a_kill_or_taken_out_of_use_counts_as_soon_as_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_table(tmp_path / "edx.csv")
    with Planner(tmp_path, config(tmp_path)) as planner:
        asked = planner.suggest(30)
        planner.ingest([measured(point) for point in asked[:29]])
        with monkeypatch.context() as killed:
            killed.setattr(planner_module, "weigh_wafers", lambda campaign: None)
            planner.ingest([measured(asked[29])])
    with CampaignStore.read_only(tmp_path) as store:
        assert store.wafer_gains()[0].measured == 29
    with Planner(tmp_path) as planner:
        before = planner.enough()[0]
        assert before["measured"] == 30
        with CampaignStore.amend(tmp_path, person="ada") as store:
            retract(store, [asked[k]["_id"] for k in range(22)], "the beam was off")
        after = planner.enough()[0]
        assert (after["measured"], after["gain"], after["is_enough"]) == (8, None, False)
        with CampaignStore.amend(tmp_path, person="ada") as store, store.transaction():
            store.exclude_wafer(ExcludedWafer("W3", "failed", "it fell", "ada", "now"))
        assert planner.enough() == []


@pytest.mark.parametrize("on", ["delta_q", "glass"])
def test_what_has_to_settle_is_what_the_rest_is_weighed_by(tmp_path: Path, on: str):
    write_table(tmp_path / "edx.csv")
    settings = config(tmp_path, stop={"on": on}, glass={"threshold": 0.46})
    with Planner(tmp_path, settings) as planner:
        planner.ingest([measured(point) for point in planner.suggest(32)])
        (now,) = planner.enough()
    assert now["tolerance"] == {"delta_q": 0.002, "glass": 0.02}[on] and 0 <= now["gain"] < 0.05
    assert {"delta_q": "error of Δq", "glass": "sides of the glass boundary"}[on] in now["sentence"]


def test_scans_that_a_laboratory_drops_are_weighed_as_they_come_and_the_rest_need_not_be_waited_for(tmp_path: Path):
    write_table(tmp_path / "edx.csv")
    backend = {"kind": "lab", "columns": "two_theta", "wavelength": CU, "composition": "target", "quiet_seconds": 0.0}
    told = {"command": f"tee {tmp_path / 'told.json'}"}
    config(tmp_path, batch=40, backend=backend, notify=told).to_toml(tmp_path / FILE_NAME)
    run(tmp_path)
    finish_telling()
    with CampaignStore.read_only(tmp_path) as store:
        asked = store.suggestions()
        assert store.wafer_gains() == []
    for number, one in enumerate(asked[1:]):
        text = scan_text(np.array(one.composition), np.random.default_rng(number), ".xy")
        (tmp_path / "drop" / f"{one.id}.xy").write_text(text)
    status = run(tmp_path)
    (gain,) = status.wafers
    assert (gain.measured, gain.points, gain.is_enough) == (39, 49, True)
    assert (status.missing, status.spared) == (1, 1)
    assert f"`glassmap go-on {tmp_path}` goes on without what is missing." in status.reason
    finish_telling()
    assert "Enough of W3, 39 of 49 measured" in json.loads((tmp_path / "told.json").read_text())["text"]


def test_a_replay_says_it_of_every_wafer_of_its_set(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning={"batch": 40}, backend={"hold_out": "batch"})
    with open_campaign(tmp_path) as campaign:
        for name, stage in (("plan", plan_stage), ("measure", measure_stage)):
            campaign.store.start_stage(1, name)
            assert stage(campaign, 1) == "done"
        east, west = sorted(campaign.store.wafer_gains())
        asked = campaign.store.suggestions()
    assert (east.wafer, west.wafer) == ("east", "west")
    assert east.points + west.points == 150 and east.measured + west.measured == 40
    assert east.measured == sum(one.wafer == "east" for one in asked)
    assert east.gain is not None and not {*east.next} & {one.sample for one in asked}

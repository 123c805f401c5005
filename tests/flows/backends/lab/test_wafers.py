"""A laboratory whose alloys exist already: what it orders, and which alloy each scan is of."""

import csv
import json
import runpy
import shutil
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.data.samples import read_samples
from glassmap.agent.planning.stage_path import length_of
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.planner import Planner
from tests.benchmarks.crash.contents import contents
from tests.benchmarks.crash.trials import apart, events_of, killed_at, spread
from tests.support import wafer_labs
from tests.support.campaigns import run
from tests.support.command_line import does
from tests.support.lab_campaigns import files, order
from tests.support.three_wafers import HEADER, WAFERS, composition, deliver, drop, rows_of, write_lab, write_table


def plan(folder: Path) -> Path:
    """Plan and order a first round."""
    write_lab(folder)
    run(folder)
    return folder


EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan(tmp_path_factory.mktemp("lab") / "lab")


@pytest.fixture
def lab(ordered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ordered, tmp_path / "lab"))


def measured(folder: Path) -> dict[str, Any]:
    with CampaignStore.read_only(folder) as store:
        return {m.facts["file"]: m for m in store.measurements()}


def test_a_table_of_several_wafers_is_a_list_of_what_exists_and_a_table_of_compositions(lab: Path):
    assert files(lab)["edx.csv"] == ("used", "1323 samples.")
    with CampaignStore.read_only(lab) as store:
        assert len(store.existing()) == 1323 and len(store.samples("17")) == 3
        assert {s.wafer for s in store.suggestions()} <= {*WAFERS} and all(s.sample for s in store.suggestions())


def test_an_order_goes_wafer_by_wafer_on_a_short_way_and_is_a_scan_list_too(lab: Path):
    samples = order(lab)
    assert list(samples[0])[:5] == ["sample", "wafer", "point", "x (mm)", "y (mm)"]
    wafers = [one["wafer"] for one in samples]
    assert len({*wafers}) == 1 + sum(one != other for one, other in pairwise(wafers))
    for wafer in {*wafers}:
        x, y = (np.array([float(s[f"{a} (mm)"]) for s in samples if s["wafer"] == wafer]) for a in "xy")
        by_rows = np.lexsort((x, y))
        assert length_of(x, y) <= length_of(x[by_rows], y[by_rows]) + 1e-9
    with (lab / "orders" / "round-001-stage.csv").open() as file:
        stage = list(csv.DictReader(file))
    assert list(stage[0]) == ["sample", "x", "y", "wafer"]
    assert [one["sample"] for one in stage] == [one["sample"] for one in samples]
    told = json.loads((lab / "orders" / "round-001.json").read_text())["samples"]
    assert [one["x (mm)"] for one in told] == [float(one["x"]) for one in stage]
    drop(lab, f"{stage[0]['sample']}.xy", composition(samples[0]["wafer"], samples[0]["point"]))
    run(lab)
    with (lab / "orders" / "round-001-stage.csv").open() as file:
        assert [one["sample"] for one in csv.DictReader(file)] == [one["sample"] for one in stage[1:]]


class Motor:
    """As Bluesky takes one."""

    parent = None


def test_the_example_s_bluesky_plan_drives_through_the_scan_list(lab: Path):
    path = lab / "orders" / "round-001-stage.csv"
    with path.open() as file:
        stage = list(csv.DictReader(file))
    plan = runpy.run_path(str(EXAMPLES / "stage_plan.py"))["measure_stage_list"]
    messages = list(plan(path, [], Motor(), Motor(), wafer=stage[0]["wafer"]))
    mine = [one for one in stage if one["wafer"] == stage[0]["wafer"]]
    assert [m.args[0] for m in messages if m.command == "set"] == [float(one[axis]) for one in mine for axis in "xy"]
    assert [m.kwargs["sample_name"] for m in messages if m.command == "open_run"] == [one["sample"] for one in mine]


@pytest.mark.parametrize("way", ["{id}.xy", "{wafer}-{point}.xy", "{wafer}/{point}.xy", "day 1/{wafer}/{padded}.xy"])
def test_a_scan_is_of_what_was_ordered_by_its_order_or_its_own_name_on_its_wafer(lab: Path, way: str):
    one = order(lab)[2]
    name = way.format(id=one["sample"], wafer=one["wafer"], point=one["point"], padded=one["point"].zfill(3))
    drop(lab, name, composition(one["wafer"], one["point"]))
    run(lab)
    (found,) = measured(lab).values()
    assert found.id == one["sample"]
    np.testing.assert_allclose(found.composition, composition(one["wafer"], one["point"]), atol=2e-5)
    assert (found.facts["sample"], found.facts["wafer"]) == (one["point"], one["wafer"])
    assert (found.facts["x"], found.facts["y"]) == (float(one["x (mm)"]), float(one["y (mm)"]))


def test_a_name_that_several_wafers_have_waits_and_it_is_said_how_to_call_it(lab: Path):
    drop(lab, "17.xy", composition("W1", "17"))
    run(lab)
    assert not measured(lab)
    assert files(lab)["17.xy"] == (
        "waiting",
        "A sample 17 lies on each of the wafers W1, W2, W3: call the file as wafer and sample, such as W1-17, or put "
        "it into a folder that is called as its wafer.",
    )


def test_what_nobody_ordered_keeps_sample_wafer_and_place_and_is_never_ordered(lab: Path):
    with CampaignStore.read_only(lab) as store:
        asked = {(s.wafer, s.sample) for s in store.suggestions()}
        near = next(s for s in store.suggestions())
    number = str(int(near.sample) + 1 if int(near.sample) % 21 else int(near.sample) - 1)
    assert (near.wafer, number) not in asked
    drop(lab, f"{near.wafer}-{number}.xy", composition(near.wafer, number))
    run(lab)
    (found,) = measured(lab).values()
    assert found.id == "u0001" and found.suggestion is None, "another sample than the one beside it that is waited for"
    assert {name: found.facts[name] for name in ("sample", "wafer")} == {"sample": number, "wafer": near.wafer}
    assert (found.facts["x"], found.facts["y"]) == rows_of(near.wafer)[int(number) - 1][2:4]
    with CampaignStore.read_only(lab) as store:
        assert (near.wafer.lower(), number) in store.taken_samples()


def test_a_corrected_table_replaces_what_it_said_and_what_it_moves_is_said_and_not_taken_for_measured(lab: Path):
    one = order(lab)[0]
    wafer, point = one["wafer"], one["point"]
    moved = composition(wafer, point) + np.array([0.06, -0.06, 0]) * (1 if composition(wafer, point)[1] > 0.1 else -1)
    write_table(lab / "edx.csv", other={f"{wafer}-{point}": moved})
    drop(lab, f"{one['sample']}.xy", moved)
    run(lab)
    (found,) = measured(lab).values()
    np.testing.assert_allclose(found.composition, moved / moved.sum(), atol=2e-5)
    assert found.facts["off_target_at_pct"] == pytest.approx(6.0, abs=0.1)
    assert order(lab)[0]["remark"] == "found 6.0 at.% from its target, which counts as not measured"
    with CampaignStore.read_only(lab) as store:
        target = next(s.composition for s in store.suggestions() if s.id == one["sample"])
        assert target not in {tuple(row) for row in store.taken().tolist()}
        assert (wafer.lower(), point) in store.taken_samples(), "the sample itself is never ordered again"
        assert (
            f"Found further from the target than backend.tolerance_at_pct: {one['sample']}; the"
            in store.status().reason
        )
        assert any("found 6.0 at.% from its target" in line.detail for line in store.log_lines())


def test_more_tables_may_come_and_one_with_a_name_twice_on_a_wafer_is_refused(lab: Path, tmp_path: Path):
    write_table(lab / "more.csv", ["W3"])
    (lab / "more.csv").write_text((lab / "more.csv").read_text().replace("W3", "W4"))
    text = (lab / FILE_NAME).read_text()
    assert '"edx.csv"' in text
    (lab / FILE_NAME).write_text(text.replace('"edx.csv"', '"edx.csv", "more.csv"'))
    drop(lab, "W4-5.xy", composition("W3", "5"))
    run(lab)
    (found,) = measured(lab).values()
    assert found.facts["wafer"] == "W4"
    twice = (lab / "more.csv").read_text() + (lab / "more.csv").read_text().splitlines()[5] + "\n"
    (tmp_path / "twice.csv").write_text(twice)
    with pytest.raises(Exception, match="names the sample 5 of wafer W4 more than once"):
        read_samples([tmp_path / "twice.csv"], ["Co", "V", "Zr"])


def test_what_edx_found_counts_by_the_name_in_the_order_however_the_scan_is_called(lab: Path):
    one, other = order(lab)[:2]
    drop(lab, f"{other['wafer']}-{other['point']}.xy", composition(other["wafer"], other["point"]))
    run(lab)
    lines = ["sample,Co (at.%),V (at.%),Zr (at.%)", *(f"{each['sample']},31,32,37" for each in (one, other))]
    (lab / "drop" / "edx-orders.csv").write_text("\n".join([*lines, ""]))
    drop(lab, f"{one['wafer']}-{one['point']}.xy", composition(one["wafer"], one["point"]))
    run(lab)
    with CampaignStore.read_only(lab) as store:
        found = store.measurement(one["sample"])
        [taken] = [file.reason for file in store.files() if file.path.endswith("edx-orders.csv")]
    assert found is not None and found.composition == pytest.approx((0.31, 0.32, 0.37))
    assert (found.facts["wafer"], found.facts["sample"]) == (one["wafer"], one["point"])
    assert (
        taken
        == f"2 samples. {other['sample']} was measured with another composition; retract it, and ingest its scan again."
    )
    told = does("ledger", lab)
    assert "Composition tables that were taken" in told and "To look at" not in told


def test_tables_that_number_samples_alike_and_name_no_wafer_are_refused_and_of_a_named_one_the_last_counts(
    tmp_path: Path,
):
    def table(name: str, first: str, *rows: str) -> Path:
        (tmp_path / name).write_text("\n".join([f"{first},Co (at.%),V (at.%),Zr (at.%)", *rows, ""]))
        return tmp_path / name

    plain = [
        table("w1.csv", "sample", "1,60,20,20", "2,50,30,20"),
        table("w2.csv", "sample", "3,20,60,20", "2,20,50,30"),
    ]
    with pytest.raises(Exception, match=r"w1\.csv and w2\.csv both name a sample 2, .* Add a column `wafer`"):
        read_samples(plain, ["Co", "V", "Zr"])
    assert read_samples(plain[:1], ["Co", "V", "Zr"]).names == ("1", "2")
    named = [
        table("a.csv", "sample,wafer", "1,W1,60,20,20", "2,W1,50,30,20"),
        table("b.csv", "sample,wafer", "2,w1,40,40,20", "2,W2,20,50,30"),
    ]
    found = read_samples(named, ["Co", "V", "Zr"])
    assert found.names == ("1", "2", "2") and found.wafers == ("W1", "W1", "W2"), "a wafer is called in one way"
    np.testing.assert_allclose(found.compositions[1], [0.4, 0.4, 0.2])
    assert found.on("w2").tolist() == [2]


def test_an_order_says_how_wafers_are_made_and_a_scan_is_of_what_edx_finds_at_its_point(tmp_path: Path):
    folder = write_lab(
        tmp_path / "lab", candidates=None, wafer=wafer_labs.CHAMBER, planning={"batch": 8, "unit": "wafer"}
    )
    run(folder)
    with (folder / "orders" / "round-001-wafers.csv").open() as file:
        recipe = list(csv.DictReader(file))
    told = json.loads((folder / "orders" / "round-001.json").read_text())["wafers"]
    assert [one["gun"] for one in recipe] == ["Co", "V", "Zr"] and {one["wafer"] for one in recipe} == {"w001"}
    assert told[0]["powers (W)"] == {one["gun"]: float(one["power (W)"]) for one in recipe}
    assert told[0]["minutes"] == float(recipe[0]["minutes"]) > 0
    first = order(folder)[0]
    drop(folder, f"{first['sample']}.xy", np.array([0.3, 0.3, 0.4]))
    run(folder)
    assert not measured(folder), "what it is to be isn't what it is"
    with CampaignStore.read_only(folder) as store:
        points = store.existing()
    lines = [HEADER.replace(" (mm)", "")]  # EDX numbers the points from the other end, and is half a mm off
    for k, (x, y) in enumerate(zip(points.x[::-1] + 0.5, points.y[::-1], strict=True)):
        lines.append(f"{k},w001,{x:g},{y:g},30,{30 + k / 10:g},{40 - k / 10:g}")
    (folder / "drop" / "edx.csv").write_text("\n".join([*lines, ""]))
    run(folder)
    (found,) = measured(folder).values()
    row = points.names[::-1].index(first["point"])
    np.testing.assert_allclose(found.composition, [0.3, 0.3 + row / 1000, 0.4 - row / 1000], atol=1e-6)
    assert (found.id, found.facts["sample"], found.facts["wafer"]) == (first["sample"], first["point"], "w001")


def test_a_laboratory_measures_three_wafers_to_the_stop_and_orders_nothing_twice(tmp_path: Path):
    folder, told = write_lab(tmp_path / "lab", rounds=2), dict[str, tuple[str, str]]()
    status = run(folder)
    while deliver(folder, told):
        status = run(folder)
    assert (status.state, status.rounds) == ("exhausted", 2)
    exist = {(wafer, number) for one in WAFERS for number, wafer, *_ in rows_of(one)}
    assert len(told) == len({*told.values()}) == 16 and {*told.values()} <= exist
    found = measured(folder).values()
    assert len(found) == 14 and all(m.suggestion == m.id for m in found)
    for one in found:
        np.testing.assert_allclose(one.composition, composition(*told[one.id]), atol=2e-5)


def test_a_planner_names_samples_and_places_and_is_told_by_them(tmp_path: Path):
    folder = write_lab(tmp_path / "lab")
    q = np.linspace(1.0, 5.0, 200)
    with Planner(folder) as planner:
        first, second, third = planner.suggest(3)
        assert {"_id", "wafer", "sample", "x", "y", "Co", "V", "Zr"} <= first.keys()
        curve = {"q": q, "intensity": 1 + 9 / (1 + (q - 2.6) ** 2)}
        planner.ingest([curve | {"sample": first["sample"], "wafer": first["wafer"]}])
        planner.ingest([curve | {"intensity": curve["intensity"] * 2} | {k: second[k] for k in ("x", "y", "wafer")}])
        with pytest.raises(Exception, match="there is one on each of the wafers W1, W2, W3; say its `wafer`"):
            planner.ingest([curve | {"sample": third["sample"]}])
        with pytest.raises(Exception, match="no such sample is known to exist"):
            planner.ingest([curve | {"sample": "442", "wafer": "W1"}])
        store = planner._campaign.store
        assert [m.suggestion for m in store.measurements()] == [first["_id"], second["_id"]]
        unasked = next(
            k for k in range(1, 442) if ("W2", str(k)) not in {(s.wafer, s.sample) for s in store.suggestions()}
        )
        planner.ingest([curve | {"intensity": curve["intensity"] * 3, "sample": f"W2-{unasked}", "wafer": "W2"}])
        (_, _, last) = store.measurements()
        assert (last.suggestion, last.facts["sample"], last.facts["wafer"]) == (None, str(unasked), "W2")
        np.testing.assert_allclose(last.composition, composition("W2", str(unasked)), atol=2e-5)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("what", ["plans", "takes in"])
def test_a_laboratory_that_is_killed_while_it_plans_or_takes_in_comes_to_the_same(
    ordered: Path, tmp_path: Path, what: str
):
    base = (
        write_lab(tmp_path / "base" / "lab")
        if what == "plans"
        else Path(shutil.copytree(ordered, tmp_path / "base" / "lab"))
    )
    if what == "takes in":
        deliver(base, {}, spared=1)
        for path in sorted((base / "drop").iterdir())[2:]:
            path.unlink()  # so that the round waits

    def copy(name: str) -> Path:
        return Path(shutil.copytree(base, tmp_path / name / "lab"))

    whole = copy("whole")
    events, _ = events_of(whole, partial(run, whole))
    for number in spread(range(1, len(events) + 1), 4)[1:3]:
        folder = copy(str(number))
        assert apart(killed_at(folder, partial(run, folder), number)).how == "killed", events[number - 1]
        run(folder)
        assert contents(folder) == contents(whole)

"""Ask and tell: the same campaign from Python, and under bluesky-adaptive."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.errors import (
    CampaignBusy,
    CampaignError,
    CompositionError,
    DatasetError,
    SpectrumError,
    StoreError,
)
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import approve, retract, retry
from glassmap.flows.change import change
from glassmap.flows.planner import Planner
from glassmap.flows.provenance import trace
from tests.support.campaigns import TINY
from tests.support.laboratory import true_spectrum

Q = np.linspace(1.2, 4.8, 300)
CONFIG = TINY | {
    "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
    "backend": {"kind": "lab", "columns": "q"},
    "stop": {"max_rounds": 2},
}


def config(**changes: Any) -> CampaignConfig:
    return CampaignConfig.of(CONFIG | changes, source="test")


def measure(alloy: Mapping[str, Any]) -> dict[str, Any]:
    composition = np.array([alloy[element] for element in ("Co", "V", "Zr")]) / 100
    return {"_id": alloy["_id"], "q": Q, "intensity": true_spectrum(composition, Q)}


def test_a_campaign_is_asked_and_told_until_it_stops(tmp_path: Path):
    seen = []
    with Planner(str(tmp_path), config()) as planner:
        while not (stop := planner.should_stop())[0]:
            for alloy in planner.suggest(3):
                seen.append(alloy["_id"])
                planner.ingest([measure(alloy)])
        planner.checkpoint()
        assert stop[1] is not None and "budget of 2 rounds is spent" in stop[1]
        best = planner.get_best_points()
        with pytest.raises(CampaignError, match="has stopped"):
            planner.suggest()
    assert len(seen) == len(set(seen)) == 16
    widths = [outcomes["delta_q"] for _, _, outcomes in best]
    assert widths == sorted(widths, reverse=True) and best[0][1]["V"] > best[-1][1]["V"], "wide peaks are rich in V"
    with CampaignStore.read_only(tmp_path) as store:
        assert (store.n_spectra(), len(store.curve())) == (16, 2)


def create(folder: Path, **changes: Any) -> Planner:
    tables = {name: CONFIG[name] for name in ("space", "model", "stop")} | changes
    return Planner.create(folder, elements="Co-V-Zr", q_range=(1.5, 4.5), batch=8, **tables)


def test_a_planner_made_of_a_few_settings_learns_when_it_is_told_to_and_says_so_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "mine"
    with create(folder, space={"step_at_pct": 10}) as planner:
        alloys = planner.suggest(8)
        planner.ingest([measure(alloy) for alloy in alloys[:7]])
        assert planner.learn().state == "waiting" and capsys.readouterr().err == "", "a round isn't all in"
        with pytest.raises(StoreError, match="no checkpoint yet"):
            planner.predict("Co30V40Zr30")
        planner.ingest([measure(alloys[7])])
        assert planner.learn().reason.startswith("Waiting for 8 of 8")
        told = capsys.readouterr().err
        assert re.fullmatch(r"glassmap: round 1: training on 6 spectra; about \d+ s\n", told)
        expected = planner.predict(["Co30V40Zr30", "Co35V30Zr35"])
        assert np.isfinite(expected["delta_q"]).all() and np.isnan(expected["known"]).all(), "too few spectra to say"
        assert (len(planner.map()), planner.curve()["round"].tolist()) == (36, [1])
        with pytest.raises(CampaignBusy, match=r"A Planner of this process that holds it gives it free by `close\(\)`"):
            create(folder, space={"step_at_pct": 10})
    config = CampaignConfig.from_toml(folder / FILE_NAME)
    assert (config.name, config.space.elements, config.spectrum.points) == ("mine", ("Co", "V", "Zr"), 800)
    with create(folder, space={"step_at_pct": 10}) as planner:
        assert len(planner.suggest(20)) == 8, "it goes on"
    with pytest.raises(CampaignError, match=r"began: model\.steps: 20 -> 30"):
        create(folder, model=TINY["model"] | {"steps": 30})
    with pytest.raises(CampaignError, match=r"Planner\.create: .*stpo"):
        create(folder, stpo={"max_rounds": 2})


def test_what_was_suggested_and_never_measured_is_suggested_again_after_a_crash(tmp_path: Path):
    with Planner(tmp_path, config()) as planner:
        first = planner.suggest(8)
        planner.ingest([measure(first[0])])
        with pytest.raises(CampaignError, match=r"Waiting for 7 of 8 .* All that may be measured was suggested"):
            planner.suggest()
    with Planner(tmp_path) as planner:
        assert planner.suggest(20) == first[1:]
        assert planner.should_stop() == (False, None)


def test_a_failed_suggestion_is_not_waited_for(tmp_path: Path):
    with Planner(tmp_path, config()) as planner:
        alloys = planner.suggest(8)
        planner.ingest([measure(alloy) for alloy in alloys[2:]])
        planner.register_failures(alloys[:3])
        planner.register_failures(alloys[:1])
        assert planner.suggest(1)[0]["_id"] == "r002-01"
    with CampaignStore.read_only(tmp_path) as store:
        assert list(store.failures()) == ["r001-01", "r001-02"]


def test_a_batch_that_nobody_approved_is_not_suggested_and_a_retried_alloy_is_again(tmp_path: Path):
    with Planner(tmp_path, config(planning={"batch": 8, "approval": "required"})) as planner:
        with pytest.raises(CampaignError, match="waits for approval"):
            planner.suggest(3)
        with CampaignStore.amend(tmp_path, person="ada") as store:
            approve(store)
        first = planner.suggest(8)[0]
        planner.register_failures([first])
        with CampaignStore.amend(tmp_path, person="ada") as store:
            retry(store, [first["_id"]], "the tube is replaced")
        assert planner.suggest() == [first]
        with pytest.raises(CampaignError, match="says shares of Co alone"):
            planner.ingest([measure(first) | {"Co": 30.0}])
        planner.ingest([measure(first)])
    with CampaignStore.read_only(tmp_path) as store:
        assert any("by lab" in line and "from Python" not in line for line in trace(store, first["_id"]))


def test_what_is_told_twice_is_taken_once_unless_it_was_retracted(tmp_path: Path):
    with Planner(tmp_path, config()) as planner:
        point = measure(planner.suggest()[0])
        planner.ingest([point, point])
        planner.ingest([point])
        with CampaignStore.amend(tmp_path, person="ada") as store:
            assert [m.id for m in store.measurements()] == ["r001-01"]
            retract(store, ["r001-01"], "too hasty")
        planner.ingest([point])
        planner.ingest([point | {"intensity": point["intensity"] * 1.01}])
    with CampaignStore.read_only(tmp_path) as store:
        assert [m.id for m in store.measurements()] == ["r001-01", "r001-01-2", "r001-01-3"]


def test_what_nobody_asked_for_is_taken_with_its_composition(tmp_path: Path):
    extra = {"q": Q, "intensity": true_spectrum(np.array([0.2, 0.3, 0.5]), Q)}
    with Planner(tmp_path, config()) as planner:
        planner.ingest([extra | {"Co": 20.1, "V": 29.9, "Zr": 50.0}])
        with pytest.raises(CampaignError, match="must say its composition"):
            planner.ingest([extra])
    with CampaignStore.read_only(tmp_path) as store:
        assert [m.id for m in store.measurements()] == ["u0001"]


def test_bad_points_are_refused_whole(tmp_path: Path):
    with Planner(tmp_path, config()) as planner:
        good, bad = map(measure, planner.suggest(2))
        for point, error, words in (
            (bad | {"_id": "r009-01"}, CampaignError, "Nothing was suggested as 'r009-01'"),
            ({"_id": bad["_id"], "q": Q}, CampaignError, "must hold `intensity`"),
            (bad | {"q": Q + 2}, SpectrumError, "must cover the range"),
            (bad | {"intensity": Q * np.nan}, SpectrumError, "must be finite"),
            (bad | {"Co": 20, "V": 20, "Zr": 20}, CompositionError, "got 60"),
        ):
            with pytest.raises(error, match=words):
                planner.ingest([good, point])
        two_theta = {"_id": bad["_id"], "two_theta": np.linspace(20, 80, 300), "intensity": np.ones(300)}
        with pytest.raises(DatasetError, match=r"Set backend\.wavelength"):
            planner.ingest([two_theta])
        planner.ingest([two_theta | {"wavelength": 1.5406}])
    with CampaignStore.read_only(tmp_path) as store:
        assert [m.id for m in store.measurements()] == [bad["_id"]]


def test_other_settings_than_the_campaigns_are_refused(tmp_path: Path):
    with Planner(tmp_path, config()):
        pass
    model = TINY["model"] | {"steps": 9}
    with pytest.raises(CampaignError, match=f"began: model.steps: 20 -> 9.*glassmap change {tmp_path} model.steps=20"):
        Planner(tmp_path, config(model=model))
    with Planner(tmp_path) as planner:
        assert len(planner.suggest(20)) == 8


def test_settings_of_planning_count_from_the_next_plan_on_while_a_planner_is_open(tmp_path: Path):
    with Planner(tmp_path, config()) as planner:
        first = planner.suggest(20)
        change(tmp_path, ["planning.batch=4", "space.bounds_at_pct.V=[20, 60]"], "short beamtime", person="ada")
        assert len(first) == 8 and not planner._free()
        planner.ingest([measure(alloy) for alloy in first])
        second = planner.suggest(20)
        assert len(second) == 4 and all(20 <= alloy["V"] <= 60 for alloy in second)
    with Planner(tmp_path, config(planning={"batch": 3})) as planner:
        assert planner.suggest(20) == second, "what is ordered stays ordered"
    with CampaignStore.read_only(tmp_path) as store:
        said = [line for line in store.log_lines() if line.event == "setting changed"]
    assert [(line.person, line.detail) for line in said][:2] == [
        ("ada", "space.bounds_at_pct.V: not set -> [20.0, 60.0]: short beamtime"),
        ("ada", "planning.batch: 8 -> 4: short beamtime"),
    ]
    assert said[2].detail == "planning.batch: 4 -> 3" and len(said) == 3


def test_a_replay_is_not_told(tmp_path: Path, small_dataset: Path):
    replay = CampaignConfig.of(TINY | {"backend": {"dataset": small_dataset}}, source="test")
    with pytest.raises(CampaignError, match=r"backend\.kind must be 'lab'; got 'replay'"):
        Planner(tmp_path, replay)
    assert not (tmp_path / FILE_NAME).exists()


def test_bluesky_adaptive_drives_it(tmp_path: Path):
    protocols = pytest.importorskip("bluesky_adaptive.protocols", reason="needs bluesky-adaptive, an optional package")
    from bluesky import RunEngine
    from bluesky.plan_stubs import null
    from bluesky_adaptive.plans import optimize

    measured: list[Mapping[str, Any]] = []

    def acquire(suggestions: Sequence[Mapping[str, Any]], *_: Any, **__: Any):
        yield from null()
        measured.extend(suggestions)
        return "run"

    def evaluate(uid: str, suggestions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [measure(alloy) for alloy in suggestions]

    with Planner(tmp_path, config()) as planner:
        for protocol in ("Optimizer", "TrialFaultAware", "SupportsStoppingCriteria", "Checkpointable"):
            assert isinstance(planner, getattr(protocols, protocol)), protocol
        problem = protocols.OptimizationProblem(
            optimizer=planner, actuators=[], sensors=[], evaluation_function=evaluate, acquisition_plan=acquire
        )
        RunEngine({})(optimize(problem, iterations=None, n_points=4, checkpoint_interval=1))
        assert planner.should_stop()[0]
    assert len({alloy["_id"] for alloy in measured}) == 16


def test_an_array_that_is_told_of_two_alloys_is_said_in_the_log(tmp_path: Path):
    """A detector may give its last frame once more."""
    with Planner(tmp_path, config()) as planner:
        first, second, third = planner.suggest(3)
        frame = measure(first)
        planner.ingest([frame, measure(third)])
        planner.ingest([frame | {"_id": second["_id"]}])
    with CampaignStore.read_only(tmp_path) as store:
        assert store.n_spectra() == 3
        (line,) = [line for line in store.log_lines() if line.event == "duplicate"]
    assert (line.subject, line.detail) == (
        "r001-01",
        "told of r001-02, the array of r001-01; is it the detector's frame of before?",
    )


@pytest.mark.parametrize("wavelength", ["1.5406", 0.0, 154.06, float("nan"), True])
def test_a_wavelength_that_is_none_is_refused_by_its_name(tmp_path: Path, wavelength: object):
    with Planner(tmp_path, config()) as planner:
        (alloy,) = planner.suggest(1)
        point = {"_id": alloy["_id"], "two_theta": np.linspace(15, 80, 300), "intensity": np.ones(300)}
        with pytest.raises(CampaignError, match=r"The wavelength of r001-01 must be a number of 0.05 to 5 \(Å\), got"):
            planner.ingest([point | {"wavelength": wavelength}])

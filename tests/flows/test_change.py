"""What a person changes while a campaign runs: from when on it counts, what it leaves as it was, what is refused."""

import shutil
from getpass import getuser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.content_hash import harm_of
from glassmap.agent.errors import CampaignError, GlassmapError
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.data import map_changes, read_begun_campaign
from glassmap.flows.campaign import Campaign
from glassmap.flows.change import change
from glassmap.flows.provenance import trace
from glassmap.flows.requests import request
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES, advance
from glassmap.flows.rounds.mend import mend_artefacts
from glassmap.flows.upkeep.verify import verify
from tests.support.campaigns import run
from tests.support.campaigns import write_campaign as write_replay
from tests.support.lab_campaigns import edit, measure_all, order


def logged(folder: Path) -> list[tuple[str, str]]:
    """Who changed settings, and which."""
    with CampaignStore.read_only(folder) as store:
        return [(line.person, line.detail) for line in store.log_lines() if line.event == "setting changed"]


def alloys(folder: Path, round_: int) -> np.ndarray:
    """What a round asks for, at.%."""
    with CampaignStore.read_only(folder) as store:
        return 100 * np.array([one.composition for one in store.suggestions(round_=round_)])


def test_a_change_keeps_comments_and_counts_from_the_next_plan_on_while_what_is_ordered_stays(lab: Path):
    edit(lab, "batch = 8", "batch = 8  # a day of the beam")
    said = change(
        lab, ["planning.batch=5", "space.bounds_at_pct.V=[5, 60]", "stop.patience=2"], "short beamtime", person="ada"
    )
    assert said.splitlines() == [
        "space.bounds_at_pct.V: not set -> [5.0, 60.0]",
        "planning.batch: 8 -> 5",
        "stop.patience: 10 -> 2",
        "Counts from the plan of round 2, what doesn't concern plans from the next stage on.",
    ]
    assert "batch = 5  # a day of the beam" in (lab / FILE_NAME).read_text()
    assert logged(lab)[1] == ("ada", "planning.batch: 8 -> 5: short beamtime") and len(logged(lab)) == 3
    first = order(lab)
    run(lab)
    assert order(lab) == first and len(logged(lab)) == 3, "the run finds nothing new"
    measure_all(lab)
    run(lab)
    second = alloys(lab, 2)
    assert len(second) == 5 and second[:, 1].max() <= 60 < alloys(lab, 1)[:, 1].max()
    assert change(lab, ["planning.batch=5"], "", person="ada") == "That is what it was; nothing changed."


def test_a_setting_changed_by_hand_is_logged_as_taken_by_whoever_runs_the_campaign(lab: Path):
    edit(lab, "hold_out_share = 0.2", "hold_out_share = 0.5")
    run(lab)
    assert logged(lab) == [(getuser(), "planning.hold_out_share: 0.2 -> 0.5")]
    edit(lab, "hold_out_share = 0.5", "")
    run(lab)
    assert logged(lab)[1:] == [(getuser(), "planning.hold_out_share: 0.5 -> 0.2")], "as by default"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("planning.batch", "Say settings as TABLE.NAME=VALUE, as in `glassmap change"),
        ("stop.patience=4", "Say each setting of `glassmap change` once; got stop.patience=4, stop.patience=5"),
        ("planning.batch=[5", r"Can't read the value of planning.batch in 'planning.batch=\[5'"),
        ("planning.bach=5", "unknown setting 'planning.bach'; allowed here: unit, batch"),
        ("planning.batch=few", "planning.batch: .*valid integer.*got 'few'"),
        ("planning.batch.size=5", "batch is no table in the campaign file"),
        ("space.limits=['V >= 99']", "No alloy of Co-V-Zr in steps of 5 at.% meets the limit 'V >= 99'"),
        (
            "model.steps=5",
            "so it can't change: model.steps: 20 -> 5. Begin another campaign with `glassmap init`",
        ),
        ("backend.kind=replay", "unknown setting 'backend.columns'"),
        ("space.bounds_at_pct.V=[60, 90]", "Co40V30Zr30. Widen them, or withdraw it first: `glassmap request .*--with"),
        ("candidates.table=none.csv", r"No file|no file|none\.csv"),
    ],
)
def test_what_is_wrong_or_would_falsify_the_past_is_refused_and_changes_nothing(lab: Path, assignment: str, words: str):
    with CampaignStore.amend(lab, person="ada") as store:
        request(store, ["Co40V30Zr30"], "")
    before = (lab / FILE_NAME).read_bytes()
    with pytest.raises(GlassmapError, match=words):
        change(lab, [assignment, "stop.patience=5"], "", person="ada")
    assert (lab / FILE_NAME).read_bytes() == before and not logged(lab)


def test_a_setting_may_be_taken_out_and_a_campaign_that_has_not_begun_has_its_file_alone(tmp_path: Path):
    (tmp_path / FILE_NAME).write_text(
        'space = {elements = ["Co", "V"]}  # inline\nbackend.dataset = "x.nc"\n[stop]\nmax_hours = 5\n'
    )
    said = change(tmp_path, ["stop.max_hours=", "planning.method=random", "space.edges=true"], "", person="ada")
    assert said.splitlines()[0] == "space.edges: false -> true" and said.endswith("The campaign begins with that.")
    config = CampaignConfig.from_toml(tmp_path / FILE_NAME)
    assert (config.stop.max_hours, config.planning.method, config.space.edges) == (None, "random", True)
    assert "# inline" in (tmp_path / FILE_NAME).read_text()
    assert not (tmp_path / "campaign.db").exists()


@pytest.fixture(scope="module")
def two_spaces(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign by the glass boundary, three rounds: the second and third in a coarser, narrower space."""
    folder = tmp_path_factory.mktemp("spaces")
    rule: dict[str, Any] = {"stop": {"on": "glass", "max_rounds": 3, "patience": 3}, "glass": {"threshold": 0.4}}
    write_replay(folder, small_dataset, **rule, backend={"hold_out": "batch"}, planning={"batch": 9})
    with open_campaign(folder) as campaign:
        for stage in ("plan", "measure", "train", "map"):
            campaign.store.start_stage(1, stage)
            STAGES[stage](campaign, 1)
        change(folder, ["space.step_at_pct=10", "space.bounds_at_pct.Co=[20, 80]"], "", person="ada")
        change(folder, ["planning.hold_out_share=0"], "", person="ada")
        advance(campaign)
    return folder


def test_each_map_is_of_the_space_that_its_round_was_planned_in(two_spaces: Path, tmp_path: Path):
    with CampaignStore.read_only(two_spaces) as store:
        maps = store.artefacts("map")
        held = [sum(one.hold_out for one in store.suggestions(round_=round_)) for round_ in (1, 2, 3)]
        curve, decision = store.curve(), store.decisions()[3]
        spaces = [store.space_of(round_)["step_at_pct"] for round_ in (1, 2, 3, 4)]
    sizes = [len(read_map(path)[0]["Co"]) for path in maps.values()]
    assert (sizes, spaces) == ([171, 28, 28], [5, 10, 10, 10])
    assert [read_map(path)[1]["config"]["space"]["step_at_pct"] for path in maps.values()] == [5, 10, 10]
    assert alloys(two_spaces, 2)[:, 0].min() >= 20 and alloys(two_spaces, 1)[:, 0].min() < 20
    assert held == [2, 0, 0] and [point.judged_by for point in curve] == [2, 2, 2], "rounds before stay as they were"
    assert [point.spectra for point in curve] == [7, 16, 25]
    assert decision.evidence["measure"] == "glass", "sides are compared on the alloys that both maps hold"
    changes = map_changes(read_begun_campaign(two_spaces), [2, 3])
    assert set(changes) == {2, 3} and all(np.isfinite(one).all() for one in changes.values())


def test_maps_and_archive_of_each_space_are_made_again_to_the_bit(two_spaces: Path, tmp_path: Path):
    folder = Path(shutil.copytree(two_spaces, tmp_path / "harmed"))
    with CampaignStore.read_only(folder) as store:
        made = [*store.artefacts("map").values(), *store.artefacts("archive").values()]
    found = [path.read_bytes() for path in made]
    made[0].write_bytes(b"harmed")
    for path in made[1:]:
        path.unlink()
    with open_campaign(folder) as campaign:
        assert len(mend_artefacts(campaign)) == 4
    assert [path.read_bytes() for path in made] == found and not any(map(harm_of, made))
    assert not [one for checked in verify(folder) for one in checked.wrong]


def test_what_reads_maps_goes_by_the_space_of_each(two_spaces: Path, tmp_path: Path):
    folder = Path(shutil.copytree(two_spaces, tmp_path / "wider"))
    change(folder, ["space.step_at_pct=5"], "", person="ada")
    places = Campaign(folder).candidates(only_known=False)
    assert len(places) and set(places["Co_low"] % 10) == {0}, "of the last map's grid"
    with CampaignStore.read_only(folder) as store:
        assert any("(round 3)" in line for line in trace(store, "Co50V30Zr20"))
    shown = read_begun_campaign(folder)
    assert shown.settings.step_at_pct == 10
    assert (
        shown.planned_elsewhere == "space.step_at_pct: 10 -> 5"
        and not read_begun_campaign(two_spaces).planned_elsewhere
    )


def test_a_replay_whose_space_becomes_wider_measures_samples_that_it_left_out(tmp_path: Path, small_dataset: Path):
    def measure(round_: int) -> tuple[np.ndarray, np.ndarray]:
        """What a round asks for and found, and what it is judged by, V in at.%."""
        with open_campaign(tmp_path) as campaign:
            for stage in ("plan", "measure"):
                STAGES[stage](campaign, round_)
            found = campaign.store.spectra(hold_out=False, round_=round_)[1]
            test = campaign.backend.hold_out()
        assert test is not None
        np.testing.assert_allclose(100 * found, alloys(tmp_path, round_))
        return 100 * found[:, 1], 100 * test.compositions[:, 1]

    write_replay(tmp_path, small_dataset, space={"bounds_at_pct": {"V": [5, 30]}})
    first, judged = measure(1)
    change(tmp_path, ["space.bounds_at_pct.V=[40, 95]"], "", person="ada")
    second, then = measure(2)
    change(tmp_path, ["space.bounds_at_pct.V=[5, 30]"], "", person="ada")
    third, now = measure(3)
    assert len(first) == len(second) == len(third) == 8
    assert max(first.max(), third.max()) <= 30 < 40 <= second.min()
    assert judged.tolist() == then.tolist() == now.tolist(), "what judges stays as it was split"
    with pytest.raises(CampaignError, match=r"None of the .* samples of the data set lies within the bounds"):
        change(tmp_path, ["space.bounds_at_pct.V=[97, 98]", "space.step_at_pct=1"], "", person="ada")


def test_a_campaign_that_stopped_decides_again_where_that_rests_on_what_changed(continued: Path):
    with CampaignStore.read_only(continued) as store:
        rounds = store.n_rounds()
        said = [line.event for line in store.log_lines()].count("decided")
    heard = change(continued, ["cost.wafer=3", "planning.approval=required"], "", person="ada")
    assert (
        "has it go on" in heard and "Hours of wafers and spectra that were measured before are counted by it" in heard
    )
    run(continued)
    told = change(continued, ["planning.batch=4"], "", person="ada")
    assert told == "planning.batch: 8 -> 4\nCounts from the plan of round 4 on."
    run(continued)
    with CampaignStore.read_only(continued) as store:
        assert [line.event for line in store.log_lines()].count("decided") == said + 1
        assert store.n_rounds() == rounds == 3, "by its limit of rounds"


def test_a_file_that_is_wrong_while_a_campaign_is_open_stops_it_before_its_next_stage_and_loses_nothing(lab: Path):
    measure_all(lab)
    with open_campaign(lab) as campaign:
        edit(lab, "batch = 8", "batch = = 8")
        with pytest.raises(CampaignError, match="is not valid TOML"):
            advance(campaign)
        edit(lab, "batch = = 8", "batch = 6")
        assert advance(campaign).state == "waiting"
    assert len(alloys(lab, 2)) == 6


def test_what_an_earlier_version_planned_stays_of_its_space(continued: Path):
    with CampaignStore.amend(continued, person="ada") as store:
        path = store.artefacts("map")[1]
        with store.transaction():
            store._execute("DELETE FROM plans")  # of which it recorded nothing
    found = path.read_bytes()
    change(continued, ["space.step_at_pct=10", "space.bounds_at_pct.Co=[20, 80]"], "", person="ada")
    path.unlink()
    with open_campaign(continued) as campaign:
        assert any("The map of round 1" in said for said in mend_artefacts(campaign))
        assert (len(campaign.space_of(3)), len(campaign.space_of(4))) == (171, 28)
    assert path.read_bytes() == found

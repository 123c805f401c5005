"""What people ask for goes first into the next batch, until they take it back; so do candidates to confirm."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.errors import CampaignError
from glassmap.agent.planning.convergence import Decision
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.candidates import read_candidates
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import ExcludedWafer, Request
from glassmap.flows.actions import reject
from glassmap.flows.backends.protocol import open_backend
from glassmap.flows.change import change
from glassmap.flows.requests import request, withdraw
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import TINY
from tests.support.campaigns import write_campaign as write_replay
from tests.support.lab_campaigns import LAB


def plan(folder: Path, round_: int) -> None:
    with open_campaign(folder) as campaign:
        STAGES["plan"](campaign, round_)


def test_what_a_person_asks_for_is_measured_first_in_the_next_batch_and_learned_from(lab: Path):
    with CampaignStore.amend(lab, person="ada") as store:
        said = request(store, ["Co40V30Zr30", "Zr35V30Co35"], "the best candidates")
        assert said == "Co40V30Zr30, Co35V30Zr35: measured first in round 2, the next to be planned."
        with pytest.raises(CampaignError, match="Co40V30Zr30 is requested already, by ada, and comes with the next"):
            request(store, ["Co40V30Zr30"], "")
        first = store.suggestions()[0]
        name = "".join(f"{e}{100 * share:g}" for e, share in zip(store.elements, first.composition, strict=True))
        with pytest.raises(CampaignError, match="was asked for already, as r001-01, which is waited for"):
            request(store, [name], "")
        with pytest.raises(CampaignError, match="r001-03 is what an order calls an alloy that is waited for"):
            request(store, ["r001-03"], "")
        with pytest.raises(CampaignError, match="not among the alloys of the campaign's space; the nearest is Co40V30"):
            request(store, ["Co41V30Zr29"], "")
        with pytest.raises(CampaignError, match=r"No samples of W1 are known: .* under \[candidates\]"):
            request(store, ["17"], "", wafer="W1")
    plan(lab, 2)
    with CampaignStore.read_only(lab) as store:
        asked = store.suggestions(round_=2)
        assert len(asked) == 8
        np.testing.assert_allclose([one.composition for one in asked[:2]], [[0.4, 0.3, 0.3], [0.35, 0.3, 0.35]])
        remarks = [one.remark for one in store.suggestion_statuses(2)]
        assert remarks == [*["requested by ada: the best candidates"] * 2, *[""] * 6]
        assert not any(one.hold_out for one in asked[:2]) and any(one.hold_out for one in asked[2:])
        assert [one.round for one in store.requests] == [2, 2]
        distances = [np.linalg.norm(np.subtract(asked[0].composition, one.composition)) for one in asked[1:]]
    assert min(distances) > 0.05, "the rule's alloys keep their distance to it"


def test_in_a_replay_the_nearest_sample_stands_for_what_is_asked_for(tmp_path: Path, small_dataset: Path):
    write_replay(tmp_path, small_dataset)
    plan(tmp_path, 1)
    with CampaignStore.amend(tmp_path, person="ada") as store:
        with pytest.raises(CampaignError, match="Co100 is no sample that exists; the nearest is"):
            request(store, ["Co100"], "")
        taken = {tuple(one.composition) for one in store.suggestions()}
        config = CampaignConfig.recorded(store.config)
        pool = compositions_of(open_backend(config.backend, config, tmp_path).candidates())
        assert isinstance(pool, np.ndarray)
        wanted = next(one for one in pool if tuple(one.tolist()) not in taken)
        near = 100 * wanted + (0.4, -0.4, 0)
        name = "".join(f"{e}{share:.2f}" for e, share in zip(store.elements, near, strict=True))
        with store.transaction():
            store.record_decision(1, Decision("exhausted", "The budget is spent."))
        assert "has stopped; `glassmap extend" in request(store, [name], "")
    plan(tmp_path, 2)
    with CampaignStore.read_only(tmp_path) as store:
        first = store.suggestions(round_=2)[0]
        np.testing.assert_array_equal(first.composition, wanted)
        assert not first.hold_out


@pytest.fixture
def on_wafers(tmp_path: Path) -> Path:
    """A lab's campaign that plans among samples of three wafers, 1 to 16 on each, and planned a batch."""
    each = np.linspace(-1, 1, 4)
    rows = ["sample,wafer,x (mm),y (mm),Co (at.%),V (at.%),Zr (at.%)"]
    for wafer, cobalt in (("W1", 20), ("W2", 40), ("W3", 60)):
        for k, (u, v) in enumerate((u, v) for u in each for v in each):
            co, vanadium = cobalt + 8 * u, 20 + 8 * v
            rows.append(f"{k + 1},{wafer},{10 * u:.1f},{10 * v:.1f},{co:.2f},{vanadium:.2f},{100 - co - vanadium:.2f}")
    (tmp_path / "edx.csv").write_text("\n".join([*rows, ""]))
    settings = TINY | {
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": LAB,
        "candidates": {"table": "edx.csv"},
    }
    CampaignConfig.of(settings, source="test").to_toml(tmp_path / FILE_NAME)
    plan(tmp_path, 1)
    return tmp_path


def test_a_sample_of_a_wafer_is_asked_for_by_its_name_and_ordered_with_its_place(on_wafers: Path):
    with CampaignStore.amend(on_wafers, person="ada") as store:
        taken = {(one.wafer, one.sample) for one in store.suggestions()}
        free = [str(k) for k in range(1, 17) if not {("W2", str(k)), ("W3", str(k))} & taken]
        one, other = free[:2]
        assert request(store, [f"w2-{one}"], "").startswith(f"{one} of W2, Co")
        request(store, [other], "an edge", wafer="W3")
        with pytest.raises(CampaignError, match=rf"{one} is the name of 3 samples, on W1, W2, W3\. Say"):
            request(store, [one], "")
        with pytest.raises(CampaignError, match=f"{one} of W2, Co.* is requested already, by ada"):
            request(store, [f"W2/{one}"], "", wafer="w2")
        with pytest.raises(CampaignError, match="No candidate lies on a wafer W9; there are W1, W2, W3"):
            request(store, [one], "", wafer="W9")
        with pytest.raises(CampaignError, match=r"W2-99 is neither the name of a sample nor an alloy: .*Samples are"):
            request(store, ["W2-99"], "")
        first = store.suggestions()[0]
        with pytest.raises(CampaignError, match="was asked for already, as r001-01, which is waited for"):
            request(store, [first.sample], "", wafer=first.wafer)
        with store.transaction():
            store.exclude_wafer(ExcludedWafer("w1", "failed", "it peels off", "ada", now()))
        with pytest.raises(CampaignError, match="Nothing of W1 is measured any more: it is failed, it peels off"):
            request(store, [f"W1-{one}"], "")
        assert [(asked.wafer, asked.sample) for asked in store.requests] == [("W2", one), ("W3", other)], "or none"
    plan(on_wafers, 2)
    with CampaignStore.read_only(on_wafers) as store:
        first, second, *rest = store.suggestions(round_=2)
        assert [(s.wafer, s.sample, s.why) for s in (first, second)] == [
            ("W2", one, "requested by ada"),
            ("W3", other, "requested by ada: an edge"),
        ]
        row = int(one) - 1
        assert (first.x, first.y) == pytest.approx((20 / 3 * (row // 4) - 10, 20 / 3 * (row % 4) - 10), abs=0.05)
        assert len(rest) == 6 and not any(s.why or s.wafer == "W1" for s in rest)


def test_a_sample_outside_the_space_is_told_from_one_that_there_is_not(on_wafers: Path):
    change(on_wafers, ["space.bounds_at_pct.Co=[0, 60]"], "", person="ada")
    refused = pytest.raises(CampaignError, match=r"W3-16, Co68V28Zr4, lies outside the bounds or limits of \[space\]")
    with CampaignStore.amend(on_wafers, person="ada") as store, refused:
        request(store, ["W3-16"], "")


def test_an_alloy_stands_for_the_nearest_sample_and_is_no_longer_wanted_once_it_is_withdrawn(on_wafers: Path):
    with CampaignStore.amend(on_wafers, person="ada") as store:
        taken = {(one.wafer, one.sample) for one in store.suggestions()}
        free = [k for k in range(16) if ("W2", str(k + 1)) not in taken]
        each = np.linspace(-1, 1, 4)
        alloys = [(40 + 8 * each[k // 4], 20 + 8 * each[k % 4]) for k in free[:2]]
        names = [f"Co{co + 0.3:.2f}V{v:.2f}Zr{99.7 - co - v:.2f}" for co, v in alloys]
        request(store, names, "")
        assert [one.sample for one in store.requests] == [str(k + 1) for k in free[:2]]
        assert withdraw(store, [names[0]], "typed wrongly") == f"No longer requested: {names[0]}."
        with pytest.raises(CampaignError, match=f"{names[0]} isn't requested; `glassmap orders"):
            withdraw(store, names[::-1], "")
        assert len(store.requests) == 1, "all of them or none"
        assert store.log_lines()[-1].event == "request withdrawn"
        withdraw(store, [f"W2-{free[1] + 1}"], "")
        assert store.requests == []
        request(store, names[1:], "")
    plan(on_wafers, 2)
    with CampaignStore.amend(on_wafers, person="ada") as store:
        assert store.suggestions(round_=2)[0].sample == str(free[1] + 1)
        with pytest.raises(CampaignError, match="is in the batch of round 2 already"):
            withdraw(store, names[1:], "")


def test_an_alloy_that_waits_while_a_table_is_added_is_the_nearest_sample_once_or_waits_on(tmp_path: Path):
    table = ["sample,Co (at.%),V (at.%),Zr (at.%)", "a,40.5,29.8,29.7", "b,20,20,60", "c,60,20,20", "d,20,60,20", ""]
    (tmp_path / "edx.csv").write_text("\n".join(table))
    settings = TINY | {"spectrum": {"low": 1.5, "high": 4.5, "points": 96}, "backend": LAB}
    CampaignConfig.of(settings, source="test").to_toml(tmp_path / FILE_NAME)
    plan(tmp_path, 1)
    with CampaignStore.amend(tmp_path, person="ada") as store:
        taken = {one.composition for one in store.suggestions()}
        near = [(0.4, 0.3, 0.3), (0.41, 0.3, 0.29)]
        for composition in (*near, (0.1, 0.45, 0.45)):
            assert composition not in taken
            with store.transaction():
                store.record_requests([*store.requests, Request(composition, "ada", "", now())])
    samples = {"candidates": {"table": "edx.csv"}, "planning": {"batch": 3}}
    CampaignConfig.of(settings | samples, source="test").to_toml(tmp_path / FILE_NAME)
    for round_ in (2, 3):
        plan(tmp_path, round_)
    with CampaignStore.read_only(tmp_path) as store:
        first, *rest = store.suggestions(round_=2)
        assert (first.sample, first.why) == ("a", "requested by ada")
        assert first.composition == pytest.approx((0.405, 0.298, 0.297)), "as the table says it"
        assert len({one.sample for one in rest} | {"a"}) == 3, "a sample is ordered once"
        assert [one.round for one in store.requests] == [2, 2, None]
        [line] = [line.detail for line in store.log_lines() if line.event == "to look at"]
    assert line.startswith(
        "Co10V45Zr45 is requested, but not among what may be planned now, and none lies within 2 at.%"
    )
    assert line.endswith("Co10V45Zr45 --withdraw` takes it back.")


def test_the_best_candidates_of_the_last_map_are_confirmed_by_samples_that_exist(tmp_path: Path, small_dataset: Path):
    plans, judged = {"batch": 16, "confirm": 3}, {"hold_out": "batch"}
    write_replay(tmp_path, small_dataset, planning=plans, glass={"threshold": 0.45}, backend=judged)
    with open_campaign(tmp_path, person="ada") as campaign:
        store = campaign.store
        for stage in ("plan", "measure", "train", "map"):
            STAGES[stage](campaign, 1)
        places = {place.alloy: place for place in read_candidates(store).places}
        before = store.taken()
        STAGES["plan"](campaign, 2)
        asked = store.suggestions(round_=2)
        confirming = [one for one in asked if one.confirms]
        assert asked[: len(confirming)] == confirming and 1 <= len(confirming) <= 3 and len(asked) == 16
        assert not any(one.hold_out for one in confirming) and any(one.hold_out for one in asked)
        for one in confirming:
            alloy = one.why.removeprefix("confirms the candidate ").partition(",")[0]
            found = np.array(one.composition)
            assert places[alloy].state == "open" and places[alloy].holds(found[None], step_at_pct=5).all()
            assert 100 * np.linalg.norm(before - found, axis=1).min() > 5, "nothing measured says it already"
        said = reject(campaign, [confirming[0].id, asked[-1].id], "no film there")
        others = store.suggestions(round_=2)[16:]
        assert said.count("r002-1") == 3 and len(others) == 2
        assert not any(one.composition == other.composition for one in others for other in asked)
        left = [place for place in places.values() if place.state == "open" and place.alloy not in str(confirming)]
        assert others[0].confirms <= bool(left) and not others[1].confirms
    with CampaignStore.read_only(tmp_path) as store:
        assert len({(one.sample, one.wafer) for one in store.suggestions()}) == 34, "never the same sample twice"

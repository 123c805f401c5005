"""Rounds that plan wafer by wafer: of what lies there, of what could be made, and what people decide about wafers."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.wafers import WaferConfig
from glassmap.agent.data.samples import Samples
from glassmap.agent.errors import CampaignError, SpaceExhausted
from glassmap.agent.planning.sputtering import points_of
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import ExcludedWafer
from glassmap.flows import actions
from glassmap.flows.actions import give_up_wafer, reject, retry
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.chamber import calibration_of
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import run, write_campaign
from tests.support.command_line import does
from tests.support.wafer_labs import CHAMBER, GUNS, THREE, write_lab, write_table

BY_WAFER = {"unit": "wafer"}


def test_a_replay_plans_a_wafer_and_then_its_points(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning=BY_WAFER, cost={"wafer": 1e-3})
    with open_campaign(tmp_path) as campaign:
        for round_, stage in ((1, "plan"), (1, "measure"), (2, "plan")):
            STAGES[stage](campaign, round_)
        store = campaign.store
        first, second = ([s.wafer for s in store.suggestions(round_=k)] for k in (1, 2))
        lines = [line.detail for line in store.log_lines() if line.event == "planned"]
    assert len(first) == len(second) == 8 and {*first} | {*second} == {"east", "west"}
    assert len({*first}) == 1 and {*first}.isdisjoint(second), "a wafer that costs next to nothing is begun at once"
    assert f"round 2: 8 alloys of {second[0]}, mean distance" in lines[1]


def test_no_other_wafer_is_begun_as_long_as_the_dear_one_fills_a_batch(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning=BY_WAFER | {"batch": 20}, cost={"wafer": 1e5, "point": 1.0})
    with open_campaign(tmp_path) as campaign:
        for round_ in (1, 2, 3, 4):
            STAGES["plan"](campaign, round_)
        asked, existing = campaign.store.suggestions(), campaign.store.existing()
    assert len({(s.wafer, s.sample) for s in asked}) == len(asked) == 80, "nothing is asked for twice"
    first, second = dict.fromkeys(s.wafer for s in asked)
    begun = min(s.round for s in asked if s.wafer == second)
    left = len(existing.on(first)) - sum(s.wafer == first and s.round < begun for s in asked)
    assert begun > 1 and left < 20


def on_wafers(folder: Path, *, pending: bool = True) -> Counter[str]:
    with CampaignStore.read_only(folder) as store:
        return Counter(one.wafer for one in store.suggestions(pending=pending))


def test_a_laboratory_orders_points_of_a_wafer_that_lies_there(tmp_path: Path):
    assert run(write_lab(tmp_path)).state == "waiting"
    [(wafer, points)] = on_wafers(tmp_path).items()
    assert wafer in THREE and points == 8
    with CampaignStore.read_only(tmp_path) as store:
        existing, asked = store.existing(), store.suggestions()
    assert len(existing) == 75 and existing.wafer_names == ("W1", "W2", "W3")
    known = {
        (w, s): (c, x, y)
        for w, s, c, x, y in zip(
            existing.wafers, existing.names, existing.compositions.tolist(), existing.x, existing.y, strict=True
        )
    }
    for one in asked:
        assert known[one.wafer, one.sample] == (list(one.composition), one.x, one.y), "as the table says it"


def test_a_rejected_wafer_is_replaced_by_another_and_never_planned_again(tmp_path: Path):
    run(write_lab(tmp_path))
    [first] = on_wafers(tmp_path)
    with open_campaign(tmp_path, person="ada") as campaign:
        said = reject(campaign, [first.lower()], "scratched")
        [second] = on_wafers(tmp_path)
        assert second != first and on_wafers(tmp_path) == {second: 8}
        assert (
            said
            == f"{first} is rejected: 8 of its points are no longer waited for; planned instead: 8 points of {second}."
        )
        with pytest.raises(CampaignError, match=f"{first} is rejected already: scratched"):
            reject(campaign, [first], "again")
        STAGES["plan"](campaign, 2)
        assert first not in {one.wafer for one in campaign.store.suggestions(round_=2)}
        held = Counter(one.hold_out for one in campaign.store.suggestions(round_=1, pending=True))
        assert held == {False: 6, True: 2}, "held out as those that they replace"
        [line] = [one for one in campaign.store.log_lines() if one.event == "wafer rejected"]
    assert (line.person, line.subject, line.detail) == ("ada", first, f"{first}: scratched")


def test_a_wafer_that_failed_covers_nothing_and_can_be_tried_again(tmp_path: Path):
    run(write_lab(tmp_path))
    [first] = on_wafers(tmp_path)
    with open_campaign(tmp_path) as campaign:
        store = campaign.store
        assert len(store.taken()) == 8
        said = give_up_wafer(campaign, first, "failed", "it broke")
        assert said.startswith(
            f"{first} has failed: 8 of its points are no longer waited for; planned instead: 8 points"
        )
        taken = store.taken()
        assert len(taken) == 8 and not set(map(tuple, taken)) & {
            one.composition for one in store.suggestions() if one.wafer == first
        }
        assert {one.state for one in store.suggestion_statuses(1) if one.suggestion.wafer == first} == {"abandoned"}
        instead = ", ".join(one.id for one in store.suggestions(pending=True))
        assert retry(store, [first], "glued") == (
            f"{first} may be planned again; 8 of its points are waited for again, beside {instead}, planned in their "
            "place; `glassmap abandon` waits for those no longer."
        )
        assert len(store.taken()) == 16 and not store.excluded_wafers()
        with pytest.raises(CampaignError, match="neither rejected nor has it failed"):
            retry(store, [first], "")
        for wafer in THREE:
            give_up_wafer(campaign, wafer, "failed", "all fell")
        with pytest.raises(SpaceExhausted, match=r"Name more tables under \[candidates\]"):
            STAGES["plan"](campaign, 2)


def test_a_wafer_is_the_same_however_it_is_spelled(tmp_path: Path):
    run(write_lab(tmp_path))
    [first] = on_wafers(tmp_path)
    write_table(tmp_path / "edx.csv", {name.lower(): centre for name, centre in THREE.items()})
    with open_campaign(tmp_path) as campaign:
        store = campaign.store
        give_up_wafer(campaign, first, "failed", "it broke")
        assert first.lower() not in {one.wafer.lower() for one in store.suggestions(pending=True)}
        with store.transaction():
            store.forget_wafer_exclusion(first)
            store.exclude_wafer(ExcludedWafer(first.lower(), "failed", "it broke", "ada", now()))
        lost = {one.composition for one in store.suggestions() if one.wafer == first}
        assert lost and lost.isdisjoint(map(tuple, store.taken().tolist()))
        with pytest.raises(CampaignError, match=f"{first} has failed already"):
            give_up_wafer(campaign, first, "rejected", "")
        STAGES["plan"](campaign, 2)
        assert first.lower() not in {one.wafer.lower() for one in store.suggestions(round_=2)}
        assert "8 of its points are waited for again, beside " in retry(store, [first], "")
        assert not store.excluded_wafers()


def test_what_comes_while_other_points_are_planned_has_the_plan_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(write_lab(tmp_path))
    [first] = on_wafers(tmp_path)
    planned, plan_replacements = list[int](), actions.plan_replacements

    def slow(*args: Any, **kwargs: Any) -> object:
        found = plan_replacements(*args, **kwargs)
        planned.append(len(found.suggestions))
        if len(planned) == 1:
            with CampaignStore.amend(tmp_path, person="lab") as other:
                actions.abandon(other, ["r001-02"], "it is measured elsewhere")
        return found

    monkeypatch.setattr(actions, "plan_replacements", slow)
    with open_campaign(tmp_path) as campaign:
        said = give_up_wafer(campaign, first, "failed", "it broke")
        assert planned == [8, 7] and "7 of its points are no longer waited for; planned instead: 7 points" in said
        assert len(campaign.store.suggestions(pending=True)) == 7
        monkeypatch.setattr(actions, "plan_replacements", plan_replacements)
        [second] = on_wafers(tmp_path)

        def twice(*args: Any, **kwargs: Any) -> object:
            with CampaignStore.amend(tmp_path, person="lab") as other, other.transaction():
                other.exclude_wafer(ExcludedWafer(second, "failed", "it fell", "lab", now()))
            return plan_replacements(*args, **kwargs)

        monkeypatch.setattr(actions, "plan_replacements", twice)
        with pytest.raises(CampaignError, match=f"{second} has failed already: it fell"):
            give_up_wafer(campaign, second, "failed", "it broke")


def test_a_single_point_is_replaced_on_the_wafer_that_was_begun(tmp_path: Path):
    run(write_lab(tmp_path))
    [first] = on_wafers(tmp_path)
    with open_campaign(tmp_path) as campaign:
        reject(campaign, ["r001-03"], "a drop of glue")
    assert on_wafers(tmp_path) == {first: 8} and on_wafers(tmp_path, pending=False) == {first: 9}


def test_a_batch_that_one_wafer_can_not_fill_goes_on_to_the_next(tmp_path: Path):
    folder = write_lab(tmp_path, candidates={"table": [write_table(tmp_path / "small.csv", THREE, side=2)]})
    with open_campaign(folder) as campaign:
        for round_ in (1, 2):
            STAGES["plan"](campaign, round_)
        first, second = (Counter(one.wafer for one in campaign.store.suggestions(round_=k)) for k in (1, 2))
    assert len(first) == 2 and set(first.values()) == {4}
    assert second == {wafer: 4 for wafer in THREE if wafer not in first}, "all that is left"


def test_wafers_are_planned_only_where_there_are_some(tmp_path: Path):
    with pytest.raises(CampaignError, match=r"needs wafers: name tables under \[candidates\]"):
        write_lab(tmp_path, candidates=None)
    table = tmp_path / "plain.csv"
    table.write_text("sample,Co (at.%),V (at.%),Zr (at.%)\na,30,30,40\nb,50,20,30\nc,20,50,30\n")
    folder = write_lab(tmp_path / "lab", candidates={"table": [table]})
    with pytest.raises(CampaignError, match="none of 3 says it"):
        run(folder)


def drop_table(folder: Path, wafer: str, samples: Samples, name: str = "edx-wafer.csv") -> None:
    rows = zip(samples.names, samples.x, samples.y, 100 * samples.compositions, strict=True)
    lines = [f"{n},{wafer},{x:g},{y:g},{','.join(f'{share:.4f}' for share in shares)}" for n, x, y, shares in rows]
    text = "\n".join(["sample,wafer,x (mm),y (mm),Co (at.%),V (at.%),Zr (at.%)", *lines, ""])
    (folder / "drop" / name).write_text(text)


def test_a_wafer_that_is_to_be_made_is_ordered_with_its_recipe_and_points(tmp_path: Path):
    assert run(write_lab(tmp_path, candidates=None, wafer=CHAMBER)).state == "waiting"
    with CampaignStore.read_only(tmp_path) as store:
        [wafer], asked, existing = store.wafers(), store.suggestions(), store.existing()
        assert store.status().reason.endswith(f"To be made: w001 with {wafer.say()}.")
        [line] = [line.detail for line in store.log_lines() if line.event == "planned"]
        config = CampaignConfig.recorded(store.config)
    assert config.wafer is not None
    chamber = config.wafer.chamber(config.space.elements)
    assert (wafer.name, wafer.round, {*wafer.powers}) == ("w001", 1, {"Co", "V", "Zr"})
    powers = np.array([[wafer.powers[element] for element in ("Co", "V", "Zr")]])
    assert ((powers >= 20) & (powers <= 200)).all()
    thickness = chamber.thickness(powers, np.zeros(1), np.zeros(1), wafer.minutes)
    assert thickness[0, 0] == pytest.approx(200, rel=1e-3)
    assert {one.wafer for one in asked} == {"w001"} and len({one.sample for one in asked}) == 8
    made = dict(zip(existing.names, zip(existing.compositions, existing.x, existing.y, strict=True), strict=True))
    for one in asked:
        shares, x, y = made[one.sample]
        np.testing.assert_array_equal(shares, one.composition)
        expected = chamber.compositions(powers, np.array([x]), np.array([y]))[0, 0]
        np.testing.assert_allclose(shares, expected)
    assert "8 alloys of w001, to be made with Co " in line


def test_once_its_table_came_a_wafer_is_planned_by_what_was_measured(tmp_path: Path):
    run(write_lab(tmp_path, candidates=None, wafer=CHAMBER, cost={"wafer": 1e4}))
    with CampaignStore.read_only(tmp_path) as store:
        found = store.existing()
        asked = {one.sample for one in store.suggestions()}
    shifted = 0.98 * found.compositions + 0.02 / 3
    whole = Samples(tuple(f"{k}" for k in range(len(found))), found.wafers, shifted, found.x + 0.5, found.y)
    few = whole.select(np.arange(len(whole) - 2))
    drop_table(tmp_path, "W001", few)
    run(tmp_path)
    with open_campaign(tmp_path) as campaign:
        store = campaign.store
        assert [one.name for one in store.recipes(1)] == ["w001"] and not store.wafers_to_make(1)
        STAGES["plan"](campaign, 2)
        assert not store.recipes(2), "it lies there"
        before = store.wafer_gains()
        with store.transaction():
            store.record_existing(store.existing())
        assert store.wafer_gains() == before, "nothing is outdated where nothing changed"
        existing, second = store.existing(), store.suggestions(round_=2)
    assert existing.names == found.names[:-2], "by the names of the order, and only what the table holds"
    np.testing.assert_allclose(existing.compositions, shifted[:-2], atol=1e-6)
    assert {one.wafer for one in second} == {"w001"} and asked.isdisjoint(one.sample for one in second)


def test_another_wafer_is_made_in_place_of_one_that_is_rejected_and_the_same_after_a_failure(tmp_path: Path):
    folders = {kind: write_lab(tmp_path / kind, candidates=None, wafer=CHAMBER) for kind in ("rejected", "failed")}
    ratios: dict[str, list[np.ndarray]] = {}
    for kind, folder in folders.items():
        run(folder)
        with open_campaign(folder) as campaign:
            give_up_wafer(campaign, "w001", kind, "the Zr target is spent")  # pyright: ignore[reportArgumentType]
            assert on_wafers(folder) == {"w002": 8}
            powers = [np.array([*one.powers.values()]) for one in campaign.store.wafers()]
        ratios[kind] = [one / one.sum() for one in powers]
    assert np.abs(np.subtract(*ratios["failed"])).max() < 0.02 < np.abs(np.subtract(*ratios["rejected"])).max()


def test_wafers_that_lie_there_are_weighed_against_those_that_could_be_made(tmp_path: Path):
    poor = {"W1": (0.9, 0.05, 0.05)}
    table = write_table(tmp_path / "poor.csv", poor)
    run(write_lab(tmp_path / "made", candidates={"table": [table]}, wafer=CHAMBER))
    assert {*on_wafers(tmp_path / "made")} == {"w001"}
    narrow = CHAMBER | {"guns": [gun | {"powers": [100.0, 100.0], "distance": 5000.0} for gun in GUNS]}
    run(write_lab(tmp_path / "lies", wafer=narrow))
    assert {*on_wafers(tmp_path / "lies")} <= {*THREE}, "a chamber that makes one alloy alone"


def test_wafers_that_were_made_calibrate_the_chamber_that_plans_the_next(tmp_path: Path):
    true = CHAMBER | {"guns": [gun | {"rate": 4.0 * (k + 1)} for k, gun in enumerate(GUNS)]}
    said = WaferConfig.model_validate(CHAMBER).chamber(("Co", "V", "Zr"))
    x, y = points_of(60.0, 5.0, 10.0)
    there = (
        WaferConfig.model_validate(true).chamber(("Co", "V", "Zr")).compositions(np.array([[100.0, 60, 40]]), x, y)[0]
    )
    folder = write_lab(
        tmp_path,
        candidates=None,
        wafer=CHAMBER | {"made": [{"table": tmp_path / "drop" / "A.csv", "wafer": "A", "powers": [100, 60, 40]}]},
        cost={"wafer": 1e4},
    )
    (folder / "drop").mkdir()
    drop_table(folder, "A", Samples(tuple(map(str, range(len(x)))), ("A",) * len(x), there, x, y), "A.csv")
    config = CampaignConfig.from_toml(folder / FILE_NAME)
    found = calibration_of(config)
    assert found is not None
    powers = np.array([[80.0, 80.0, 80.0]])
    off = [
        np.abs(
            one.compositions(powers, x, y)[0]
            - WaferConfig.model_validate(true).chamber(("Co", "V", "Zr")).compositions(powers, x, y)[0]
        ).max()
        for one in (said, found.chamber)
    ]
    assert off[1] < 0.01 < 0.1 < off[0]
    told = does("calibrate", folder)
    assert "1, as given" in told, "how a rate grows with power isn't fitted to one power"
    assert "Compositions are missed by 0.0" in told and "at powers that were used" in told
    run(folder)
    with open_campaign(folder) as campaign:
        STAGES["plan"](campaign, 2)
        log = campaign.store.log_lines()
    assert [line.detail for line in log if line.event == "planned"][-1].startswith("round 2: 8 alloys of w001, mean")
    lines = [line.detail for line in log if line.event == "to look at"]
    assert len(lines) == len({*lines}), "said of what is ordered, once"
    assert all(line.startswith("w001: ") and "was calibrated at" in line for line in lines) and lines
    edited = (folder / FILE_NAME).read_text().replace('wafer = "A"', 'wafer = "B"')
    (folder / FILE_NAME).write_text(edited)
    with pytest.raises(CampaignError, match=r"A\.csv holds no wafer 'B', but A"):
        calibration_of(CampaignConfig.from_toml(folder / FILE_NAME))

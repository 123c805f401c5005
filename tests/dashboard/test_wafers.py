"""What pages, report and pictures show of wafers: every point once, where it lies and what became of it."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from glassmap.agent.data.samples import Samples
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Measurement, PlannedWafer, SampleRow, Suggestion, SuggestionStatus
from glassmap.dashboard.data import WaferRecords, read_last_archive, read_last_map, read_wafers
from glassmap.dashboard.pictures import draw_wafers_of
from glassmap.dashboard.plots.disc import blend_over, cells_of, disc_of, outline_of, paint_disc
from glassmap.dashboard.wafers import (
    KINDS,
    Kind,
    Wafer,
    by_composition,
    discs_of,
    generated,
    measured,
    reach_of,
    wafers_of,
    wafers_seen,
)
from tests.support.made_up import samples_on_wafers
from tests.support.pages import known, look, words

ELEMENTS = ("Zr", "Cu", "Al")
NOTHING = WaferRecords(Samples.none(3), [], [], [], [], [], [], None, np.eye(3))


def _asked(number: int, wafer: str, sample: str, x: float, state: str = "missing") -> SuggestionStatus:
    one = Suggestion(f"r001-{number:02d}", 1, 0, (0.4, 0.3, 0.3), False, sample=sample, wafer=wafer, x=x, y=0.0)
    return SuggestionStatus(one, state, "", None)  # pyright: ignore[reportArgumentType]


def _found(id_: str, suggestion: str | None, **facts: object) -> Measurement:
    return Measurement(id_, suggestion, 1, (0.5, 0.3, 0.2), False, "lab", "", "used", "", dict(facts), True)


def _row(wafer: str, sample: str, x: float) -> SampleRow:
    return SampleRow("edx.csv", sample, (0.6, 0.2, 0.2), wafer, {}, x, 0.0)


def _kinds(wafer: Wafer) -> dict[str, Kind]:
    return dict(zip(wafer.samples, wafer.kinds, strict=True))


def test_every_point_of_a_wafer_says_what_became_of_it(campaigns: Path):
    wafers = {wafer.name: wafer for wafer in wafers_of(read_wafers(campaigns / "waiting"))}
    assert list(wafers) == ["W1", "W2", "W3", "w001"]
    assert [len(wafer.samples) for wafer in wafers.values()] == [25, 25, 25, 5]
    counts = {name: [int(wafer.of(kind).sum()) for kind in KINDS] for name, wafer in wafers.items()}
    assert sum(counts["W1"][:2]) + sum(counts["W2"][:2]) == 15 and counts["W3"] == [0, 0, 0, 0, 0, 25]
    assert counts["w001"] == [1, 1, 0, 3, 0, 0]
    assert wafers["w001"].recipe == "Planned in round 4: Zr 50 W, Cu 75 W, Al 100 W; 12.5 minutes."
    assert wafers["W3"].state == "failed" and "Failed, says Ada: the film has peeled off" in wafers["W3"].sentences
    assert tuple(KINDS) == get_args(Kind)


def test_a_measurement_is_of_the_point_that_was_asked_for_else_by_name_else_by_place():
    existing = Samples(("1", "2", "3"), ("W1",) * 3, np.full((3, 3), 1 / 3), np.array([0.0, 3, 6]), np.zeros(3))
    records = NOTHING._replace(
        existing=existing,
        asked=[_asked(1, "W1", "1", 0.0, "measured")],
        measured=[
            _found("r001-01", "r001-01"),
            _found("u0001", None, wafer="w1", sample="2"),
            _found("u0002", None, wafer="W1", x=6.1, y=0.1),
            _found("u0003", None, wafer="W1", x=9.0, y=0.0),
            _found("u0004", None),
        ],
    )
    (wafer,) = wafers_of(records)
    assert dict(zip(wafer.samples, wafer.ids, strict=True)) == {
        "1": "r001-01", "2": "u0001", "3": "u0002", "u0003": "u0003"
    }  # fmt: skip
    assert set(wafer.kinds) == {"measured"} and wafer.x.tolist() == [0, 3, 6, 9]
    np.testing.assert_allclose(wafer.compositions, [[0.5, 0.3, 0.2]] * 4)


def test_a_table_s_points_take_the_place_of_what_was_expected_of_a_planned_wafer():
    expected = Samples(("w001-1", "w001-2"), ("w001",) * 2, np.full((2, 3), 1 / 3), np.array([0.0, 3]), np.zeros(2))
    records = NOTHING._replace(
        existing=expected,
        asked=[_asked(1, "w001", "w001-2", 3.0)],
        planned=[PlannedWafer("w001", 1, {"Zr": 50.0}, 10.0)],
    )
    (wafer,) = wafers_of(records)
    assert _kinds(wafer) == {"w001-1": "free", "w001-2": "pending"} and wafer.state == "to be made"
    (wafer,) = wafers_of(records._replace(tables=[_row("W001", "18", 3.1), _row("W001", "17", -3.0)]))
    assert _kinds(wafer) == {"w001-2": "pending", "17": "free"}
    np.testing.assert_allclose(wafer.compositions, [[0.6, 0.2, 0.2]] * 2)


def test_the_way_is_that_of_the_scan_list_past_what_is_still_to_be_measured():
    asked = [_asked(k, "W1", str(k), x) for k, x in enumerate((9.0, 0.0, 6.0, 3.0), 1)]
    asked[2] = asked[2]._replace(state="abandoned")
    (wafer,) = wafers_of(NOTHING._replace(asked=asked))
    assert wafer.x[wafer.path].tolist() == [0, 3, 9]


def test_what_has_no_wafer_and_no_place_is_no_wafer_and_a_table_that_names_none_is_one():
    nowhere = Samples(("1",), ("",), np.full((1, 3), 1 / 3), np.array([np.nan]), np.array([np.nan]))
    assert wafers_of(NOTHING._replace(existing=nowhere)) == []
    (wafer,) = wafers_of(NOTHING._replace(existing=nowhere, tables=[_row("", "1", 2.0)]))
    assert wafer.name == "without a name" and wafer.samples == ("1",)


def test_what_no_wafer_reaches_leaves_out_those_that_failed(campaigns: Path):
    records = read_wafers(campaigns / "waiting")
    wafers = wafers_of(records)
    reach = reach_of(wafers, records.space)
    everything = np.concatenate([wafer.compositions for wafer in wafers if wafer.name != "W3"])
    nearest = 100 * np.linalg.norm(records.space[:, None] - everything, axis=2).min(axis=1)
    np.testing.assert_allclose(reach.distance, nearest, atol=1e-9)
    assert f"{100 * np.mean(nearest > 5):.0f} % of the space is farther than 5 at.%" in reach.say(ELEMENTS)
    assert (reach_of([wafer._replace(excluded=None) for wafer in wafers], records.space).distance <= nearest).all()
    assert reach_of(wafers, everything).say(ELEMENTS).endswith("none farther than 0.0 at.%.")


def test_a_disc_s_cells_are_as_wide_as_the_pitch_and_stand_where_its_points_do():
    x, y = np.array([-3.0, 0.0, 3.0, 0.0]), np.array([0.0, 0.0, 0.0, 6.0])
    disc = disc_of(x, y, 20.0)
    assert disc == (0, 0, 10)
    assert disc_of(x + 30, y, 20.0)[:2] == (30, 3), "a stage's own zero: about the points' middle"
    cells = cells_of(disc, x, y)
    size = len(cells)
    assert [cells[size // 2, round(size * (10 + at) / 20)] for at in x[:3]] == [0, 1, 2]
    assert cells[round(size * 4 / 20), size // 2] == 3 and cells[0, 0] == -1
    np.testing.assert_allclose([np.mean(cells == k) for k in range(4)], 9 / 400, rtol=0.1)


def test_an_outline_holds_its_points_and_no_more_than_a_gap_beside_them():
    angle, radius = np.meshgrid(np.linspace(0, 1.5 * np.pi, 40), np.linspace(0.3, 0.4, 5))
    points = np.column_stack([(radius * np.cos(angle)).ravel(), (radius * np.sin(angle)).ravel()])
    line = outline_of(points)
    x, y = line[np.isfinite(line).all(axis=1)].T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(0.75 * np.pi * (0.4**2 - 0.3**2), rel=0.05), "three quarters of a ring, not its hull"
    np.testing.assert_allclose(outline_of(np.array([[0.0, 0], [1, 1], [0.5, 0.5]])), [[0, 0], [1, 1]])
    assert len(outline_of(np.array([[0.2, 0.3]]))) == 1


def test_colours_tell_compositions_apart_and_elements_have_the_inks_of_their_axes():
    samples = samples_on_wafers(ELEMENTS)
    blend = blend_over(samples.compositions)
    corners = np.maximum(blend.low, 0) + blend.left * np.eye(3)
    assert blend.colours(corners).tolist() == [[0, 114, 178], [213, 94, 0], [0, 158, 115]]
    assert blend.colours(np.full((1, 3), 1 / 3)).min() > 150, "the middle is pale"
    distinct = np.unique(samples.compositions.round(6), axis=0)
    assert len(np.unique(blend.colours(distinct), axis=0)) == len(distinct) > 50
    same = blend_over(np.full((4, 3), 1 / 3))
    assert same.left == 1, "of one composition the whole triangle"


def test_what_is_generated_is_the_map_s_nearest_alloy_and_what_is_measured_its_own(campaigns: Path):
    campaign = known(campaigns / "waiting")
    map_, archive, seen = (
        read_last_map(campaign),
        read_last_archive(campaign),
        wafers_seen(read_wafers(campaign.folder)),
    )
    assert map_ is not None and archive is not None
    wafer = seen.wafers[0]
    nearest = np.linalg.norm(map_.compositions - wafer.compositions[3], axis=1).argmin()
    told = generated(wafer, map_, DELTA_Q.name, (0.2, 0.7)).texts[3]
    assert f"{map_.values(DELTA_Q.name)[nearest]:.3f}" in told
    found = measured(wafer, map_, archive, DELTA_Q.name, (0.2, 0.7))
    assert found is not None and found.is_there is not None
    assert found.is_there.sum() == wafer.of("measured", "held out").sum() > 5
    row = int(np.flatnonzero(found.is_there)[0])
    own = archive.measured.figures[DELTA_Q.name][archive.measured.ids.index(wafer.ids[row])]
    assert f"{own:.3f}" in found.texts[row]
    picture = paint_disc(wafer.disc(None), wafer.x, wafer.y, found)
    assert {tuple(colour) for colour in picture.reshape(-1, 4).tolist()} >= {(128, 128, 128, 40), (0, 0, 0, 0)}
    assert [shown.title.split(",")[-1].strip() for shown in discs_of(wafer, seen, campaign, map_, archive)] == [
        "composition", "generated", "measured"
    ]  # fmt: skip
    assert by_composition(wafer, seen.blend).is_there is None


def test_the_page_begins_with_the_wafer_that_waits_and_shows_another_on_demand(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    test = look(monkeypatch, campaigns, "wafers", campaign="waiting")
    assert test.selectbox(key="wafer").value == "w001" and "Planned in round 4: Zr 50 W" in words(test)
    assert "5 points: 1 measured, learned from; 1 measured, held out; 3 still to be measured." in words(test)
    drawn = [json.loads(chart.proto.spec)["data"] for chart in test.get("plotly_chart")]
    assert len(drawn) == 4 and [trace["name"] for trace in drawn[0] if "name" in trace] == [
        KINDS["measured"], KINDS["held out"], KINDS["pending"]
    ]  # fmt: skip
    outlines = {trace["name"] for trace in drawn[1] if trace.get("mode") == "lines" and "name" in trace}
    assert outlines == {"W1", "W2", "W3", "w001"}
    test.selectbox(key="wafer").set_value("W3").run()
    assert not test.exception and "the film has peeled off" in words(test)
    test.selectbox(key="wafer_quantity").set_value("distance").run()
    assert not test.exception and len(test.get("plotly_chart")) == 3, "of a distance nothing is measured"


def test_the_batch_says_which_sample_of_which_wafer_it_asks_for_and_where_it_lies(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    table = look(monkeypatch, campaigns, "batch", campaign="waiting").dataframe[0].value
    assert table["wafer"].tolist() == ["w001"] * 5 and table["its sample"].tolist()[0] == "w001-001"
    with CampaignStore.read_only(campaigns / "waiting") as store:
        places = [(one.x, one.y) for one in store.suggestions(round_=4)]
    assert list(zip(table["x (mm)"], table["y (mm)"], strict=True)) == places


def test_a_page_of_a_campaign_without_wafers_says_how_there_would_be_some(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    assert "`[candidates]`" in words(look(monkeypatch, campaigns, "wafers", campaign="converged"))
    assert not known(campaigns / "converged").has_wafers and known(campaigns / "waiting").has_wafers


@pytest.mark.usefixtures("pictures_unseen")
def test_wafers_are_drawn_for_print_where_there_are_some(campaigns: Path, tmp_path: Path):
    for name, drawn in (("waiting", 1), ("converged", 0)):
        assert len(draw_wafers_of(known(campaigns / name), tmp_path)) == drawn

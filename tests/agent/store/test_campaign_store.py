from math import nan, sqrt

import numpy as np
import pytest

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import CurvePoint, Decision, Effort, Estimate
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import JudgedSpectra
from glassmap.agent.store.results import SAMPLE
from tests.support.stores import ALLOYS, BATCH, SPECTRUM, record_all


def test_what_goes_in_comes_out(store: CampaignStore):
    record_all(store)
    errors = {"mse": Estimate(12.5, nan), "delta_q": Estimate(0.02, nan), "q1": Estimate(nan, nan)}
    point = CurvePoint(1, 2, 14.0, None, 0, errors, {})
    decision = Decision("continue", "Go on.", "improving", {"on": "mse", "gain": [0.1, None]})
    with store.transaction():
        store.record_curve_point(point)
        store.record_decision(1, decision)
        store.record_artefact(1, "map", store.folder / "maps" / "m.parquet")
    assert store.suggestions() == BATCH
    ids, compositions, spectra = store.spectra(hold_out=False)
    assert ids == ["r001-01", "r001-02"]
    np.testing.assert_array_equal(compositions, ALLOYS[:2])
    np.testing.assert_array_equal(spectra, [SPECTRUM.astype(np.float32)] * 2)
    assert store.spectra(hold_out=True)[0] == ["r001-03"]
    assert store.axis()[0] == "q" and store.axis()[1].tolist() == [1.0, 2.0, 3.0, 4.5]
    assert ([one.to_json() for one in store.curve()]) == [point.to_json()], "as an earlier version left it"
    assert (store.decision(), store.n_spectra()) == ((1, decision), 3)
    assert store.artefact("map") == (1, store.folder / "maps" / "m.parquet")
    assert store.artefact("map", 2) is None
    assert store.coverage() == [Coverage(10.0, 20.0, 5.0)]


def record_round(store: CampaignStore, round_: int, mse: float) -> None:
    errors = {"mse": Estimate(mse, nan)}
    store.record_curve_point(CurvePoint(round_, 4 * round_, mse, None, 0, errors, {}))


def judged(ids: str, *mse: float, wafers: str = "") -> JudgedSpectra:
    """Errors of the spectra a, b, c …, on wafers called by a letter each."""
    errors = {"mse": np.array(mse), SAMPLE: 2 * np.array(mse)}
    return JudgedSpectra(tuple(ids), tuple(wafers) or ("",) * len(ids), errors)


def test_all_rounds_are_judged_by_the_newest_hold_out(store: CampaignStore):
    with store.transaction():
        for round_, mse in ((1, 4.0), (2, 9.0), (3, 5.0)):
            record_round(store, round_, mse)
        store.record_judged(1, "held out", judged("ab", 4, 4), since=1)
        store.record_judged(2, "held out", judged("abc", 8, 8, 11), since=1)
        store.record_judged(1, "held out", judged("abcd", 8, 4, 12, 16), since=1)  # again
        store.record_judged(2, "held out", judged("cdab", 11, 9, 6, nan), since=1)
        store.record_judged(3, "held out", judged("dcba", 6, 5, 4, 5), since=1)
    first, second, third = store.curve()
    assert [point.judged_by for point in (first, second, third)] == [4, 3, 4]
    assert (first.mse, third.mse) == (10.0, 5.0), "by what is held out now"
    assert first.mse_sample == 20.0 and first.hold_out["mse"].standard_error == pytest.approx(sqrt(80 / 3 / 4))
    marks = store.marks("held out", "mse", since=1)
    assert marks.spectra == (4, 8, 12) and marks.errors[0].tolist() == [16, 12, 4, 8], "pairs"
    assert np.isnan(marks.errors[1]).tolist() == [False, False, True, False], "which nobody could mark"


@pytest.mark.parametrize("wafers, error", [("", sqrt(16 * 4 / 3) / 4), ("wwvv", sqrt(32 * 2) / 4)])
def test_spectra_of_a_wafer_count_together(store: CampaignStore, wafers: str, error: float):
    with store.transaction():
        for round_ in (1, 2):
            record_round(store, round_, 1.0)
            store.record_judged(round_, "held out", judged("abcd", 1, 1, 5, 5, wafers=wafers), since=1)
    assert [point.hold_out["mse"].standard_error for point in store.curve()] == pytest.approx([error, error])
    assert store.marks("held out", "mse", since=1).groups.tolist() == ([0, 0, 1, 1] if wafers else [0, 1, 2, 3])


def test_spectra_learned_from_are_paired_where_two_rounds_know_them(store: CampaignStore):
    with store.transaction():
        for round_, ids in ((1, "ab"), (2, "bac")):
            record_round(store, round_, 1.0)
            store.record_judged(round_, "left out", judged(ids, *(4.0, 2.0, 3.0)[: len(ids)]), since=1)
    marks = store.marks("left out", "mse", since=1)
    np.testing.assert_array_equal(marks.errors, [[4, 2, nan], [2, 4, 3]])
    last = store.curve()[1]
    assert last.left_out["mse"] == last.hold_out["mse"] and last.hold_out["mse"].value == 3
    assert (last.judged_by, last.judged_on) == (3, "left-out"), "nothing is held out"


def test_what_is_retracted_tells_nothing_of_the_trend_any_more(store: CampaignStore):
    record_all(store)
    ids, wafers = ("r001-01", "r001-02"), ("", "")
    with store.transaction():
        for round_ in (1, 2):
            record_round(store, round_, 1.0)
            errors = {"mse": np.array([4.0, 90.0])}
            store.record_judged(round_, "left out", JudgedSpectra(ids, wafers, errors), since=1)
        store.record_judged(2, "held out", JudgedSpectra((), (), {"mse": np.empty(0)}), since=1)
        store.set_measurement_state("r001-02", "retracted", "a line of the substrate")
    assert store.marks("left out", "mse", since=1).errors.tolist() == [[4.0], [4.0]]
    assert store.hold_out_mse() == (1.0, pytest.approx(nan, nan_ok=True)), "as it was, where nothing is held out now"
    assert store.status().to_json()["hold_out_mse"] == 1.0


def test_no_two_of_its_parts_mean_something_else_by_a_name():
    names = [name for part in CampaignStore.__mro__[:-1] for name in vars(part) if not name.startswith("__")]
    assert sorted(names) == sorted(set(names))


def test_wafers_and_hours_count_from_the_round_that_first_measured_of_a_wafer(store: CampaignStore):
    on = [[("W1", 0), ("W1", 1)], [("W1", 2), (7, 3)], [("", 4)], [("W2", 5), (None, 6)]]
    with store.transaction():
        for round_, measured in enumerate(on, start=1):
            record_round(store, round_, 1.0)
            for wafer, number in measured:
                facts = {} if wafer is None else {"wafer": wafer}
                id_ = f"u{number:04d}"
                store.record_spectrum(
                    None, np.array(ALLOYS[0]), SPECTRUM, backend="lab", facts=facts, id_=id_, round_=round_
                )
    efforts = [point.effort for point in store.curve()]
    assert efforts == [Effort(1, 2, 8.1), Effort(2, 4, 16.2), Effort(2, 4, 16.2), Effort(3, 5, 24.25)]
    assert store.curve()[-1].to_json() | {"wafers": 3, "hours": 24.25} == store.curve()[-1].to_json()
    assert store.status().to_json()["effort"] == {"wafers": 3, "spectra": 5, "hours": 24.25}
    with store.transaction():
        store.record_config(store.config | {"cost": {"wafer": 0.5, "point": 1.0}})
    assert store.status().effort == Effort(3, 5, 6.5), "by what it costs now"


def test_hours_are_not_told_where_no_spectrum_says_its_wafer(store: CampaignStore):
    record_all(store)
    with store.transaction():
        record_round(store, 1, 1.0)
    assert store.status().effort is None
    assert [(one["wafers"], one["hours"]) for one in map(CurvePoint.to_json, store.curve())] == [(None, None)]

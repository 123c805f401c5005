import sqlite3

import numpy as np
import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.stores import ALLOYS, BATCH, SPECTRUM, record_all


def test_before_the_first_measurement_the_arrays_are_empty_but_of_the_right_width(store: CampaignStore):
    ids, compositions, spectra = store.spectra(hold_out=False)
    assert (ids, compositions.shape, spectra.shape) == ([], (0, 3), (0, 4))
    assert store.suggestions(pending=True) == BATCH


def test_a_target_whose_measured_composition_drifted_is_taken_at_both_places(store: CampaignStore):
    """Who measures by itself finds the same there once more."""
    drifted = np.array([0.25, 0.27, 0.48])
    with store.transaction():
        store.record_spectrum(BATCH[0], drifted, SPECTRUM, backend="replay")
    taken = {tuple(row) for row in store.taken().tolist()}
    assert taken == {*ALLOYS, tuple(drifted.tolist())}
    np.testing.assert_array_equal(store.spectra(hold_out=False)[1], [drifted])


@pytest.mark.parametrize(("off", "is_free"), [(0.9, False), (5.0, True)])
def test_a_target_that_a_laboratory_missed_by_more_than_its_tolerance_is_free_once_more(
    store: CampaignStore, off: float, is_free: bool
):
    found = np.array([0.25, 0.25, 0.5])
    with store.transaction():
        store.record_config({"backend": {"tolerance_at_pct": 1.0}})
        store.record_spectrum(BATCH[0], found, SPECTRUM, backend="lab", facts={"off_target_at_pct": off})
    taken = {tuple(row) for row in store.taken().tolist()}
    assert taken == {*ALLOYS[is_free:], tuple(found.tolist())}
    assert len(store.taken(since=2)) == 0
    with store.transaction():
        store.add_to_batch([BATCH[0]._replace(id="r001-04")])
    assert ALLOYS[0] in {tuple(row) for row in store.taken().tolist()}, "it is pending"
    with store.transaction():
        store.record_spectrum(BATCH[0], found, SPECTRUM, backend="lab", facts={"off_target_at_pct": off}, id_="again")
    assert ALLOYS[0] in {tuple(row) for row in store.taken().tolist()}, "it was missed twice, or met"


def test_a_sample_that_exists_is_taken_once_it_is_asked_for_or_measured(store: CampaignStore):
    facts = {"sample": "18", "wafer": "W3"}
    with store.transaction():
        store.add_to_batch([BATCH[0]._replace(id="r001-04", sample="W3-17", wafer="W3")])
        store.record_spectrum(None, np.array(ALLOYS[1]), SPECTRUM, backend="lab", facts=facts, id_="u0001", round_=1)
        store.record_spectrum(
            None, np.array(ALLOYS[1]), SPECTRUM, backend="lab", facts=facts | {"sample": "19"}, id_="u0002", round_=1
        )
        store.set_measurement_state("u0002", "retracted", "another wafer")
    assert store.taken_samples() == {("w3", "w3-17"), ("w3", "18")}


def test_a_measurement_lies_on_the_wafer_that_was_found_else_on_that_which_was_asked_for(store: CampaignStore):
    asked = [BATCH[0]._replace(id=f"r001-1{k}", sample=str(k), wafer="W3") for k in range(3)]
    with store.transaction():
        store.add_to_batch(asked)
        for one, facts in zip(asked, ({"wafer": ""}, {"wafer": "W4", "sample": "9"}, {}), strict=True):
            store.record_spectrum(one, np.array(ALLOYS[0]), SPECTRUM, backend="lab", facts=facts)
        store.record_spectrum(None, np.array(ALLOYS[1]), SPECTRUM, backend="lab", id_="u0001", round_=1)
    found = [(one.id, one.wafer, one.sample) for one in store.measured_points()]
    assert found == [("r001-10", "W3", "0"), ("r001-11", "W4", "9"), ("r001-12", "W3", "2")]


def test_a_suggestion_is_measured_once(store: CampaignStore):
    record_all(store)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), store.transaction():
        store.record_spectrum(BATCH[0], np.array(ALLOYS[0]), SPECTRUM * 0.5, backend="replay")
    np.testing.assert_array_equal(store.spectra(hold_out=False)[2][0], SPECTRUM.astype(np.float32))


def test_measurements_are_counted_by_state(store: CampaignStore):
    record_all(store)
    with store.transaction():
        store.set_measurement_state("r001-02", "flagged", "no film")
    assert (store.count_measurements("used"), store.count_measurements("flagged")) == (2, 1)
    assert store.spectra(hold_out=False)[0] == ["r001-01"]

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
    drifted = np.array([0.25, 0.27, 0.48])
    with store.transaction():
        store.record_spectrum(BATCH[0], drifted, SPECTRUM, backend="replay")
    taken = {tuple(row) for row in store.taken().tolist()}
    assert taken == {*ALLOYS, tuple(drifted.tolist())}
    np.testing.assert_array_equal(store.spectra(hold_out=False)[1], [drifted])


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

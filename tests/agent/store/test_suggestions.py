import numpy as np

from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.stores import ALLOYS, BATCH, SPECTRUM


def test_pending_is_what_no_measurement_failure_or_exclusion_stands_for(store: CampaignStore):
    first, second, third = BATCH
    with store.transaction():
        store.record_spectrum(first, np.array(first.composition), SPECTRUM, backend="lab")
        store.record_failure(second, "cracked")
        store.record_exclusion(third.id, "abandoned", "lost")
    assert store.suggestions(pending=True) == [] and store.counts(1) == (3, 0)
    assert [one.state for one in store.suggestion_statuses(1)] == ["measured", "failed", "abandoned"]
    with store.transaction():
        store.set_measurement_state(first.id, "retracted", "wrong wafer")
        store.forget_exclusion(second.id)
        store.forget_exclusion(third.id)
    assert store.suggestions(pending=True) == BATCH and store.counts(1) == (3, 3)
    assert {one.state for one in store.suggestion_statuses(1)} == {"missing"}


def test_what_is_missing_is_what_is_pending(store: CampaignStore):
    with store.transaction():
        store.record_spectrum(BATCH[0], np.array(ALLOYS[0]), SPECTRUM, backend="lab")
        store.set_measurement_state(BATCH[0].id, "flagged", "no film")
        store.record_exclusion(BATCH[1].id, "rejected", "too brittle")
    missing = [one.suggestion for one in store.suggestion_statuses(1) if one.state == "missing"]
    assert missing == store.suggestions(pending=True) == BATCH[2:]


def test_progress_is_of_what_is_pending_and_ends_with_its_measurement(store: CampaignStore):
    with store.transaction():
        for share, one in zip((0.2, 0.9), BATCH[:2], strict=True):
            store.record_progress(one, share)
    assert store.progress() == [(BATCH[0], 0.2), (BATCH[1], 0.9)]
    with store.transaction():
        store.record_spectrum(BATCH[1], np.array(ALLOYS[1]), SPECTRUM, backend="simulation")
        store.record_exclusion(BATCH[0].id, "abandoned", "too slow")
    assert store.progress() == []

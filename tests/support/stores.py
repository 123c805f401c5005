"""A small store: three alloys of one round, of which the third is held out."""

import numpy as np

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion

ALLOYS = [(0.2, 0.3, 0.5), (0.4, 0.4, 0.2), (0.1, 0.1, 0.8)]
BATCH = [Suggestion(f"r001-{k + 1:02d}", 1, 7 * k, alloy, hold_out=k == 2) for k, alloy in enumerate(ALLOYS)]
SPECTRUM = np.array([0.0, 1 / 3, 100.0, 20.0])


def record_all(store: CampaignStore) -> None:
    """Measure every alloy of the batch."""
    with store.transaction():
        for suggestion in BATCH:
            store.record_spectrum(suggestion, np.array(suggestion.composition), SPECTRUM, backend="replay")

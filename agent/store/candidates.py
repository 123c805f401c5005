"""Where on a campaign's last map one would bet on a glass, beside what was measured there."""

import numpy as np

from glassmap.agent.config.glass import is_glass_given
from glassmap.agent.config.wish import read_wish
from glassmap.agent.maps.glass import LIKELY, GlassRule
from glassmap.agent.maps.regions import MOST_PLACES, Candidates, MeasuredAlloys, find_candidates
from glassmap.agent.maps.spectra_archive import read_archive, read_map
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.store.campaign_store import CampaignStore


def read_candidates(
    store: CampaignStore, *, level: float = LIKELY, only_known: bool = True, most: int = MOST_PLACES
) -> Candidates:
    """Return where on a campaign's last map one would bet on a glass; see `find_candidates`.

    What was measured is as of that map.

    Raises:
        StoreError: If there is no map yet.
        ModelError: If its file was removed or is damaged.
        CampaignError: If the wish in the campaign file is wrong.
    """
    elements, config = tuple(store.elements), store.config
    round_, path = store.newest("map")
    columns, metadata = read_map(path)
    archive = store.artefact("archive")
    known = None if archive is None else read_archive(archive[1]).measured
    return find_candidates(
        np.stack([columns[element] for element in elements], axis=1) / 100,
        columns,
        elements,
        step_at_pct=store.space_of(round_)["step_at_pct"],
        rule=GlassRule.from_json(metadata.get("glass")) if not store.source or is_glass_given(config) else None,
        measured=known and MeasuredAlloys(known.ids, known.compositions, known.figures[DELTA_Q.name]),
        wish=read_wish(store.folder, config),
        only_known=only_known,
        level=level,
        most=most,
    )

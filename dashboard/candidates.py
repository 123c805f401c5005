"""Where on a map one would bet on a glass, as pages and the report show it: a row a place."""

import numpy as np
import pandas as pd

from glassmap.agent.maps.glass import LIKELY
from glassmap.agent.maps.regions import MOST_PLACES, Candidates, MeasuredAlloys, find_candidates
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.maps.wish import Wish
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import PerAlloy, Rows
from glassmap.dashboard.data import CampaignSnapshot, Map

TOP_SHARE = 0.05  # of a quaternary's alloys, in its cloud
NUMBERS = {  # of the table's columns, with how each is shown
    "% of the map": "%.1f",
    DELTA_Q.head: f"%.{DELTA_Q.digits}f",
    "±": f"%.{DELTA_Q.digits}f",
    "P(glass)": "%.2f",
    "away (at.%)": "%.1f",
    "known (%)": "%.0f",
    "$/kg": "%.0f",
    "g/cm³": "%.1f",
}


def candidates_of(
    campaign: CampaignSnapshot,
    map_: Map,
    archive: SpectraArchive | None,
    *,
    wish: Wish | None = None,
    only_known: bool = True,
    level: float = LIKELY,
    most: int = MOST_PLACES,
) -> Candidates:
    """Return the places of a campaign's map; see `find_candidates`."""
    known = None if archive is None else archive.measured
    return find_candidates(
        map_.compositions,
        {name: map_.figures[name].to_numpy() for name in map_.figures},
        campaign.elements,
        step_at_pct=campaign.settings.step_at_pct,
        rule=map_.rule if campaign.has_glass_boundary else None,
        measured=known and MeasuredAlloys(known.ids, known.compositions, known.figures[DELTA_Q.name]),
        wish=wish,
        only_known=only_known,
        level=level,
        most=most,
    )


def table_of(found: Candidates, elements: tuple[str, ...]) -> pd.DataFrame:
    """Return places as a table for people; `NUMBERS` says how its numbers are shown."""
    rows = [
        {
            "region": place.region,
            "centre": place.alloy,
            "extent (at.%)": place.say_extent(elements),
            "% of the map": 100 * place.share,
            DELTA_Q.head: place.delta_q,
            "±": place.delta_q_predictive_std,
            "P(glass)": place.p_glass,
            "measured": place.say_measured(),
            "measure next": place.measure,
            "nearest measured": f"{place.nearest} {place.nearest_alloy}: {DELTA_Q.say(place.nearest_delta_q)}"
            if place.nearest
            else None,
            "away (at.%)": place.distance,
            "known (%)": 100 * place.known_share,
            "$/kg": place.cost_per_kg,
            "g/cm³": place.density,
        }
        for place in found.places
    ]
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of places with its numbers as they are shown, for what shows text alone; ranges don't break."""
    told = {
        name: table[name].map(lambda value, style=style: "–" if pd.isna(value) else style % value)
        for name, style in NUMBERS.items()
        if name in table
    }
    extents = [extent.replace(" ", "\u00a0").replace("–", "\u2060–\u2060") for extent in table["extent (at.%)"]]
    return table.assign(**told | {"extent (at.%)": [extent.replace(",\u00a0", ", ") for extent in extents]})


def say_table(found: Candidates) -> str:
    """Return what the table's columns mean, in sentences."""
    sure = "a new measurement" if found.knows_how_sure else "the model's parts (epistemic)"
    glass = "is likely a glass" if found.glass is not None else f"has the largest {DELTA_Q.label}"
    regions = "one region" if found.regions == 1 else f"{found.regions} regions"
    return (
        f"What {glass} are {found.meeting:,} alloys in {regions}. Each is divided in places about as wide as errors of "
        f"{DELTA_Q.label} go together, a row each; {DELTA_Q.label} and P(glass) are means over the place, ± is the "
        f"standard deviation of {sure}."
    )


def top_alloys(values: PerAlloy) -> Rows:
    """Return the rows of the `TOP_SHARE` of alloys whose value is largest, of those that have one."""
    known = np.flatnonzero(np.isfinite(values))
    return known[np.argsort(-values[known], kind="stable")[: max(1, round(TOP_SHARE * len(known)))]]

"""Which alloys of a map are worth measuring: those whose Δq is large even less two epistemic std."""

import numpy as np
import pandas as pd

from glassmap.agent.data.composition import label
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import PerAlloy, Rows
from glassmap.dashboard.data import Map

TOP_SHARE = 0.05  # of a quaternary's alloys, in its cloud
MOST_AGREE = 0.5  # share of the model that finds a peak, for an alloy to be a candidate


def best_alloys(
    elements: tuple[str, ...],
    map_: Map,
    *,
    ranges_at_pct: dict[str, tuple[float, float]] | None = None,
    most_std: float | None = None,
    least_distance: float | None = None,
    most_distance: float | None = None,
    only_known: bool = True,
    n: int = 50,
) -> pd.DataFrame:
    """Return the alloys whose Δq less two epistemic std is largest, as a table, the largest first.

    Left out are alloys of which most parts of the model find no peak: their mean's is a mixture.

    Args:
        elements: Of the campaign.
        map_: Where to look.
        ranges_at_pct: Of elements, both ends included.
        most_std: Epistemic, of Δq in 1/Å.
        least_distance: To the nearest measured alloy, at.%: what is new.
        most_distance: To the nearest measured alloy, at.%.
        only_known: Leave out what is extrapolated; a map that doesn't record that leaves out nothing.
        n: At most.
    """
    figures, at_pct = map_.figures, 100 * map_.compositions
    least = figures[DELTA_Q.name] - 2 * figures[DELTA_Q.std_name].fillna(0)
    keep = (least.notna() & (figures["peak_share"] >= MOST_AGREE)).to_numpy(copy=True)
    for element, (low, high) in (ranges_at_pct or {}).items():
        column = at_pct[:, elements.index(element)]
        keep &= (column >= low - 1e-6) & (column <= high + 1e-6)
    if most_std is not None:
        keep &= (figures[DELTA_Q.std_name] <= most_std).to_numpy()
    if least_distance is not None:
        keep &= (figures["distance"] >= least_distance).to_numpy()
    if most_distance is not None:
        keep &= (figures["distance"] <= most_distance).to_numpy()
    if only_known:
        keep &= (figures["known"] != 0).to_numpy()
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(-least.to_numpy()[rows], kind="stable")[:n]]
    table = figures.iloc[rows].reset_index(drop=True)
    table.insert(0, "at_least", least.to_numpy()[rows])
    for k, element in enumerate(elements):
        table.insert(k, element, at_pct[rows, k].round(1))
    table.insert(0, "alloy", [label(composition, elements) for composition in map_.compositions[rows]])
    return table


def top_alloys(values: PerAlloy) -> Rows:
    """Return the rows of the `TOP_SHARE` of alloys whose value is largest, of those that have one."""
    known = np.flatnonzero(np.isfinite(values))
    return known[np.argsort(-values[known], kind="stable")[: max(1, round(TOP_SHARE * len(known)))]]

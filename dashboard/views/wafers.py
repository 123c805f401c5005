"""What lies on each wafer, what was measured of it, and what of the system the wafers reach."""

from functools import partial

import numpy as np
import streamlit as st

from glassmap.agent.outside_text import spreadsheet_cell
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.dashboard.alloy import show_alloy
from glassmap.dashboard.data import CampaignSnapshot, colour_limits
from glassmap.dashboard.live import archive_now, chosen, map_now, plain, show_ternary, wafers_now
from glassmap.dashboard.plots.disc import Shown
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.wafers import DISC_HEIGHT, REACH_HEIGHT, draw_cloud, draw_disc, draw_reach, legend_of
from glassmap.dashboard.wafers import (
    MEASURED,
    Wafer,
    WafersSeen,
    by_composition,
    by_share,
    counts_of,
    generated,
    measured,
    points_of,
)

NO_PLACES = "No table says where its points lie: columns `x (mm)` and `y (mm)` would."


def _begin_with(wafers: list[Wafer]) -> int:
    """Return which wafer is shown first: the last that is asked for, else the last that was measured."""
    pending = [k for k, wafer in enumerate(wafers) if wafer.of("pending").any()]
    begun = [k for k, wafer in enumerate(wafers) if wafer.of(*MEASURED).any()]
    return next((at[-1] for at in (pending, begun) if at), 0)


def _pick(key: str, campaign: CampaignSnapshot, wafer: Wafer) -> None:
    """Remember the alloy of the point that was clicked on a disc, or what is nearest to it and has a spectrum kept."""
    if points := st.session_state[key]["selection"]["points"]:
        away = np.hypot(wafer.x - points[0]["x"], wafer.y - points[0]["y"])
        alloy, archive = wafer.compositions[int(np.nanargmin(away))], archive_now(campaign)
        if archive is not None:
            alloy = archive.generated[int(np.linalg.norm(archive.generated - alloy, axis=1).argmin())]
        st.session_state["alloy"] = tuple(alloy)


def _disc(
    campaign: CampaignSnapshot, seen: WafersSeen, wafer: Wafer, shown: Shown, *, key: str, marked: Shown | None = None
) -> None:
    figure = draw_disc(wafer, shown, elements=campaign.elements, diameter=seen.diameter, marked=marked)
    pick = partial(_pick, key, campaign, wafer)
    show_ternary(figure, key=key, height=DISC_HEIGHT, on_select=pick, selection_mode="points")


def _composition(campaign: CampaignSnapshot, seen: WafersSeen, wafer: Wafer) -> None:
    """Show what lies where: of a ternary in the colours of its triangle, of others one element's share."""
    if not wafer.placed.any():
        st.info(NO_PLACES)
        return
    shown = None
    if len(campaign.elements) != 3:
        element = st.selectbox("Element", campaign.elements, key="element")
        shown = by_share(wafer, seen.wafers, campaign.elements, element)
    _disc(campaign, seen, wafer, shown or by_composition(wafer, seen.blend), key="disc")
    if len(wafer.path) > 1:
        st.caption("The line is the way over the stage, in the order of the scan list.")


def _reach(campaign: CampaignSnapshot, seen: WafersSeen, wafer: Wafer) -> None:
    elements = campaign.elements
    if len(elements) == 3:
        figure = draw_reach(seen.wafers, seen.reach, elements=elements, blend=seen.blend, chosen=wafer.name)
        show_ternary(figure, key="reach", height=REACH_HEIGHT)
    elif len(elements) > 3:
        st.plotly_chart(draw_cloud(seen.wafers, elements=elements), width="stretch", key="reach")
    st.html(legend_of(seen.wafers))
    st.caption(plain(seen.reach.say(elements)))


def _quantity(campaign: CampaignSnapshot, seen: WafersSeen, wafer: Wafer) -> None:
    """Show what is generated of the wafer's points beside what was measured."""
    if (map_ := map_now(campaign)) is None:
        return
    there = [name for name in QUANTITIES if name in map_.figures]
    begin = there.index(DELTA_Q.name)
    column = st.selectbox("Shown", there, begin, lambda name: QUANTITIES[name].label, key="wafer_quantity")
    archive = archive_now(campaign)
    limits = colour_limits(map_, archive, column)
    found = measured(wafer, map_, archive, column, limits)
    left, right = st.columns(2)
    with left:
        _disc(campaign, seen, wafer, generated(wafer, map_, column, limits), key="generated", marked=found)
    with right:
        if found is not None:
            _disc(campaign, seen, wafer, found, key="measured")
    st.caption(
        f"Generated: the map's alloy nearest to each point, after round {map_.round}. Marks have the colour of what "
        "was measured; what came since is white, and coloured from the next map on. Click a point to see its spectrum, "
        "or the nearest that is kept."
    )


def _show(campaign: CampaignSnapshot) -> None:
    seen = wafers_now(campaign)
    if not seen.wafers:
        st.info(
            "Nobody said of any sample on which wafer it lies. `[candidates]` of the campaign file names tables of "
            "wafers that exist, `[wafer]` says how others are made."
        )
        return
    names = [wafer.name for wafer in seen.wafers]
    name = st.selectbox("Wafer", names, index=_begin_with(seen.wafers), key="wafer")
    wafer = seen.wafers[names.index(name)]
    for sentence in filter(None, wafer.sentences):
        st.markdown(plain(sentence))
    left, right = st.columns(2)
    with left:
        _composition(campaign, seen, wafer)
    with right:
        _reach(campaign, seen, wafer)
    if wafer.placed.any():
        _quantity(campaign, seen, wafer)
    if (alloy := st.session_state.get("alloy")) is not None and len(alloy) == len(campaign.elements):
        show_alloy(campaign, np.array(alloy), key="wafers")
    st.dataframe(counts_of(seen.wafers), hide_index=True, key="wafers table")
    points = points_of(wafer, campaign.elements).map(spreadsheet_cell)
    st.download_button(
        f"Points of {wafer.name} as CSV",
        points.to_csv(index=False, float_format="%.4g"),
        f"{campaign.name}-{wafer.name}.csv",
        "text/csv",
    )


_show(
    chosen(
        lambda campaign: (
            campaign.has_wafers,
            campaign.map,
            campaign.archive,
            campaign.status,
            campaign.n_failed,
            campaign.round_at_work,
        )
    )
)

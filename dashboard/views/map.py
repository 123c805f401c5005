"""Where is the glass, and how sure is that?"""

import io
import math
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from glassmap.agent.data.composition import close_compositions, label, parse_composition
from glassmap.agent.errors import CompositionError
from glassmap.agent.maps.glass import LIKELY, POSSIBLY, SURELY
from glassmap.agent.maps.knowledge import say_extrapolated
from glassmap.agent.maps.regions import Place
from glassmap.agent.maps.wish import Wish
from glassmap.agent.outside_text import visible
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Compositions, Mask
from glassmap.agent.store.records import UsedAlloys
from glassmap.dashboard.alloy import request_command, show_figures, show_spectra
from glassmap.dashboard.candidates import NUMBERS, TOP_SHARE, say_table, table_of, top_alloys
from glassmap.dashboard.data import (
    NEAR_SLICE_AT_PCT,
    CampaignSnapshot,
    Map,
    Slice,
    boundary_over,
    colour_limits,
    measured_values,
)
from glassmap.dashboard.downloads import downloads_of
from glassmap.dashboard.live import (
    archive_now,
    candidates_now,
    chosen,
    map_now,
    plain,
    show_ternary,
    used_alloys_now,
    wish_now,
)
from glassmap.dashboard.plots.maps import Marks, draw_parallel, draw_ternary, draw_tetrahedron
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.ternary import colour_range, positions

LEVELS = {"possibly": POSSIBLY, "likely": LIKELY, "surely": SURELY}  # how sure a candidate has to be
DOWNLOAD = ":material/download:"
TERNARY = "ternary"  # key of the picture
BEST = 3  # candidates that one asks for together


def _known_glasses(elements: tuple[str, ...]) -> tuple[Compositions, list[str]]:
    """Read known glass formers from a file of the user's: a column `alloy`, or one for each element in at.%."""
    file = st.file_uploader(
        "Known glass formers, a CSV with a column `alloy` or a column for each element in at.%", type="csv"
    )
    if file is None:
        return np.empty((0, len(elements))), []
    try:
        table = pd.read_csv(io.BytesIO(file.getvalue()))
        if "alloy" in table:
            known = np.array([parse_composition(str(alloy), elements) for alloy in table["alloy"]])
        elif missing := [element for element in elements if element not in table]:
            raise CompositionError(
                "A table of known glass formers needs a column alloy, or one for each element; "
                f"{missing[0]} is missing."
            )
        else:
            at_pct = table[list(elements)].to_numpy(dtype=np.float64)
            known, _ = close_compositions(
                at_pct, elements=elements, names=[f"Row {row}" for row in range(1, len(table) + 1)]
            )
    except (CompositionError, ValueError) as error:
        st.error(f"{file.name}: {error}")
        return np.empty((0, len(elements))), []
    return known.reshape(-1, len(elements)), [label(row, elements) for row in known]


def _pick(key: str, compositions: Compositions, columns: list[int]) -> None:
    """Remember the alloy that was clicked on a picture.

    Args:
        key: Of the picture.
        compositions: Of the alloys drawn.
        columns: Which of their elements are the corners.
    """
    if points := st.session_state[key]["selection"]["points"]:
        shown = compositions[:, columns]
        away = positions(shown) - (points[0]["x"], points[0]["y"])
        st.session_state["alloy"] = tuple(compositions[int(np.argmin((away**2).sum(1)))])


def _pick_row(places: list[Place]) -> None:
    """Remember the centre of the place whose row was chosen."""
    if rows := st.session_state["candidates"]["selection"]["rows"]:
        st.session_state["alloy"] = places[rows[0]].centre


def _marks(
    campaign: CampaignSnapshot,
    map_: Map,
    used: UsedAlloys,
    quantity: str,
    known: Compositions,
    known_texts: list[str],
    alloy: tuple[float, ...] | None,
) -> Marks:
    """Return what is marked on the map: alloys measured, asked for, noted on and known, and the one that is shown."""
    e, batch = len(campaign.elements), campaign.awaited
    flagged = campaign.flagged_used if len(used.ids) else []
    why = {one.id: one.reason for one in flagged}
    noted = [note for note in campaign.status.notes if note.composition is not None]
    why |= {note.measurement: note.text for note in campaign.status.notes if note.measurement}
    return Marks(
        measured=used.compositions,
        measured_texts=[f"{id_}: {visible(why[id_])}" if id_ in why else id_ for id_ in used.ids],
        measured_values=measured_values(map_, archive_now(campaign), used.ids, quantity),
        held_out=used.hold_out,
        flagged=np.array([one.composition for one in flagged]).reshape(-1, e),
        flagged_texts=[one.id for one in flagged],
        batch=np.array([s.composition for s in batch]).reshape(-1, e),
        batch_texts=[s.id for s in batch],
        known=known,
        known_texts=known_texts,
        noted=np.array([note.composition for note in noted]).reshape(-1, e),
        noted_texts=[visible(note.text) for note in noted],
        chosen=None if alloy is None else np.array(alloy),
    )


def _draw(campaign: CampaignSnapshot, map_: Map, quantity: str, cut: Slice | None, marks: Marks) -> None:
    """Draw a ternary, or a slice of what has more elements."""
    values, boundary = map_.values(quantity), boundary_over(campaign, map_, quantity)
    rows, corners = (np.ones(len(values), dtype=bool), [0, 1, 2]) if cut is None else (cut.rows, cut.corners)
    figure = draw_ternary(
        map_.compositions[rows][:, corners],
        values[rows],
        quantity=quantity,
        elements=[campaign.elements[k] for k in corners],
        limits=colour_limits(map_, archive_now(campaign), quantity),
        known=map_.values("known")[rows],
        extrapolated=say_extrapolated(map_.extrapolated),
        boundary=boundary and boundary.of(rows),
        marks=marks,
    )
    pick = partial(_pick, TERNARY, map_.compositions[rows], corners)
    show_ternary(figure, key=TERNARY, on_select=pick, selection_mode="points")


def _slice(campaign: CampaignSnapshot, map_: Map, quantity: str, marks: Marks) -> Slice | None:
    """Show a ternary slice, where all elements but three are held fixed, and return it; None where there is none."""
    elements, at_pct = campaign.elements, 100 * map_.compositions
    n_fixed = len(elements) - 3
    fixed = st.multiselect(
        f"Hold {n_fixed} element{'s' * (n_fixed > 1)} fixed",
        elements,
        default=elements[-n_fixed:],
        max_selections=n_fixed,
        key="fixed",
    )
    if len(fixed) < n_fixed:
        st.info(f"Choose {n_fixed} to hold fixed.")
        return None
    keep = np.ones(len(at_pct), dtype=bool)
    columns = st.columns(n_fixed)
    for column, element in zip(columns, fixed, strict=True):
        k = elements.index(element)
        levels = np.unique(at_pct[keep][:, k].round(3))
        middle = levels[int(np.argmin(np.abs(levels - 20)))]
        level = column.select_slider(
            f"{element} (at.%)", levels, value=middle, format_func=lambda v: f"{v:g}", key=f"slice {element}"
        )
        keep &= np.abs(at_pct[:, k] - level) < 1e-6
    others = [elements.index(element) for element in elements if element not in fixed]
    if keep.sum() < 3:
        st.info("There are fewer than three alloys in this slice.")
        return None
    level_of = at_pct[keep][0]

    def near(shares: Compositions) -> Mask:
        away = [np.abs(100 * shares[:, elements.index(f)] - level_of[elements.index(f)]) for f in fixed]
        return np.all(np.array(away) <= NEAR_SLICE_AT_PCT, axis=0) & (shares[:, others].sum(1) > 0)

    held = ", ".join(f"{level_of[elements.index(element)]:g} at.% {element}" for element in fixed)
    cut = Slice(keep, others, held)
    _draw(campaign, map_, quantity, cut, marks.where(near, others))
    st.caption(
        f"Marked: measured alloys within {NEAR_SLICE_AT_PCT:g} at.% of the slice. Colours are the same in every slice."
    )
    return cut


def _cloud(campaign: CampaignSnapshot, map_: Map, quantity: str, used: UsedAlloys) -> None:
    values = map_.values(quantity)
    top = top_alloys(values)
    st.caption(f"The {100 * TOP_SHARE:g} % of alloys where {QUANTITIES[quantity].title} is largest.")
    figure = draw_tetrahedron(
        map_.compositions[top],
        values[top],
        quantity=quantity,
        elements=campaign.elements,
        limits=colour_range(values),
        measured=used.learned,
    )
    st.plotly_chart(figure, width="stretch", key="cloud")


def _wish(campaign: CampaignSnapshot) -> tuple[Wish, bool, float]:
    """Ask what candidates have to meet, beginning with what the campaign file says: a wish, known only, a level."""
    wish = wish_now(campaign)
    columns = st.columns(min(3, len(campaign.elements)))
    ranges = {
        element: columns[k % len(columns)].slider(
            f"{element} (at.%)",
            0.0,
            100.0,
            wish.bounds_at_pct.get(element, (0.0, 100.0)),
            step=1.0,
            format="%g",
            key=f"range {element}",
        )
        for k, element in enumerate(campaign.elements)
    }
    columns = st.columns(3)
    cost = columns[0].number_input(
        "at most ($/kg)",
        min_value=0.0,
        value=wish.max_cost_per_kg,
        placeholder="any",
        help="Of the raw elements of the centre, as they are traded in bulk; `[wish.prices]` takes your own.",
    )
    low, high = wish.density or (None, None)
    lightest = columns[1].number_input("at least (g/cm³)", min_value=0.0, value=low, placeholder="any")
    heaviest = columns[2].number_input("at most (g/cm³)", min_value=0.0, value=high, placeholder="any")
    bounded = {element: ends for element, ends in ranges.items() if ends != (0.0, 100.0)}
    density = None if lightest is None and heaviest is None else (lightest or 0.0, heaviest or math.inf)
    columns = st.columns(3)
    level = columns[0].segmented_control("a glass", list(LEVELS), default="likely", key="level") or "likely"
    only_known = columns[1].toggle("known alloys only", value=True, help="Leaves out what is extrapolated.")
    return Wish(bounded, cost, density, wish.prices), only_known, LEVELS[level]


def _candidates(campaign: CampaignSnapshot, map_: Map) -> None:
    st.markdown("**Best candidates**: where one would bet on a glass, a row a place")
    with st.expander("Wishes"):
        wish, only_known, level = _wish(campaign)
    found = candidates_now(campaign, wish, only_known=only_known, level=level)
    if found is None or not found.places:
        st.info("" if found is None else found.say_none())
        return
    if found.chance is not None:
        st.markdown(f"Open places: {found.chance.say()}")
    table = table_of(found, campaign.elements)
    st.dataframe(
        table,
        hide_index=True,
        height=min(420, 38 + 35 * len(table)),
        key="candidates",
        on_select=partial(_pick_row, found.places),
        selection_mode="single-row",
        column_config={
            name: st.column_config.NumberColumn(name, format=style) for name, style in NUMBERS.items() if name in table
        },
    )
    best = [place.measure for place in found.places if place.state == "open"][:BEST]
    ask = f" {request_command(str(campaign.folder), best)} has these measured next." if best else ""
    st.caption(f"{say_table(found)} `planning.confirm = {BEST}` measures the best {BEST} open ones each round.{ask}")
    rows = pd.DataFrame([place.to_row(campaign.elements) for place in found.places])
    st.download_button("As CSV", rows.to_csv(index=False), f"{campaign.name}-candidates.csv", "text/csv")
    if len(campaign.elements) > 4:
        figure = draw_parallel(rows, elements=campaign.elements, limits=colour_range(map_.values(DELTA_Q.name)))
        st.plotly_chart(figure, width="stretch", key="parallel")


def _best(campaign: CampaignSnapshot) -> tuple[float, ...] | None:
    """Return the best candidate; None where there is none."""
    found = candidates_now(campaign, wish_now(campaign), only_known=True, level=LIKELY)
    return found.places[0].centre if found is not None and found.places else None


def _picture(campaign: CampaignSnapshot, map_: Map, alloy: tuple[float, ...] | None) -> None:
    """Show the map, and what of it can be taken along."""
    there = [name for name in QUANTITIES if name in map_.figures]
    quantity = (
        st.selectbox("Shown", there, format_func=lambda name: QUANTITIES[name].label, key="quantity") or DELTA_Q.name
    )
    show_measured = st.toggle("measured alloys", value=True, key="show_measured")
    place = st.container()
    with st.expander("Known glass formers"):
        known, known_texts = _known_glasses(campaign.elements)
    used = used_alloys_now(campaign)
    nothing = UsedAlloys([], used.compositions[:0], used.hold_out[:0])
    marks = _marks(campaign, map_, used if show_measured else nothing, quantity, known, known_texts, alloy)
    held = f" at {campaign.settings.held}" if campaign.settings.held else ""
    with place:
        cut, is_cloud = None, False
        if len(campaign.elements) == 3:
            _draw(campaign, map_, quantity, None, marks)
        elif len(campaign.elements) > 3:
            if len(campaign.elements) == 4:
                view = st.segmented_control("View", ["slice", "cloud"], default="slice", key="view")
                is_cloud = view == "cloud"
            if is_cloud:
                _cloud(campaign, map_, quantity, used)
            else:
                cut = _slice(campaign, map_, quantity, marks)
        st.caption(
            f"After round {map_.round}{held}: {len(map_.figures)} alloys, {len(used.learned)} learned from; "
            f"marks have the colour of what was measured{', at any' if held else ''}. Click an alloy to see its "
            f"spectrum. {plain(campaign.status.unlearned)}"
        )
        if campaign.planned_elsewhere:
            st.caption(f"The next batch is planned in another space than this: {plain(campaign.planned_elsewhere)}.")
        has_picture = cut is not None or len(campaign.elements) == 3
        with st.container(horizontal=True, gap="xsmall"):
            for one in downloads_of(campaign, map_, archive_now(campaign), quantity, cut=cut, has_picture=has_picture):
                st.download_button(
                    one.label, one.make, one.name, one.mime, help=one.about, on_click="ignore", icon=DOWNLOAD
                )


def _show(campaign: CampaignSnapshot) -> None:
    map_ = map_now(campaign)
    if map_ is None:
        if campaign.map is not None:
            return  # that it can't be read is said
        st.info(
            f"g(r) has no {DELTA_Q.label}, so this campaign has no map; its spectra are on the next page."
            if campaign.q is None
            else "There is no map yet. The first is made once the first batch is measured and learned from."
        )
        return
    chosen_alloy = st.session_state.get("alloy")
    has_chosen = chosen_alloy is not None and len(chosen_alloy) == len(campaign.elements)
    alloy = chosen_alloy if has_chosen else _best(campaign)
    left, right = st.columns([3, 2])
    with left:
        _picture(campaign, map_, alloy)
    with right:
        if alloy is None:
            st.info("Click an alloy on the map to see its generated spectrum.")
        else:
            if not has_chosen:
                st.caption("The best candidate; click another alloy on the map, or a row of the table below.")
            show_figures(campaign, np.array(alloy))
    if alloy is not None:
        show_spectra(campaign, np.array(alloy), key="map")
    _candidates(campaign, map_)


_show(
    chosen(
        lambda campaign: (campaign.map, campaign.archive, campaign.round_at_work, campaign.state, campaign.status.notes)
    )
)

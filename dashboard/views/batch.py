"""What is measured next, why, and what is missing."""

from itertools import compress

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from scipy.spatial import KDTree

from glassmap.agent.data.composition import label
from glassmap.agent.outside_text import spreadsheet_cell, visible
from glassmap.agent.planning.acquisition import RULES, WEIGHTS, rule_of
from glassmap.agent.store.records import Suggestion
from glassmap.agent.store.status import describe_enough
from glassmap.dashboard.data import Batch, CampaignSnapshot, read_batch
from glassmap.dashboard.live import chosen, map_now, plain, show_ternary
from glassmap.dashboard.notes import show_notes
from glassmap.dashboard.plots.maps import Marks, draw_ternary
from glassmap.dashboard.plots.ternary import colour_range

SHOWN_IDS = 30  # of samples, in a line
SHOWN_WHOLE = 30  # alloys, in a table that needs no scrolling
SHOWN_FLAGS = 6  # pictures of flagged measurements


def _rule(campaign: CampaignSnapshot, batch: Batch, round_: int) -> str:
    """Return why the alloys of a batch are chosen, in sentences."""
    first = campaign.settings.first_own_round
    then = {} if batch.planned_by is None else batch.planned_by.planning  # a newer version's may say anything
    method, weights = then.get("method", campaign.settings.method), then.get("weights", campaign.settings.weights)
    if method in RULES:
        why = rule_of(method, has_model=round_ not in (1, first)).sentence
    else:
        why = f"Chosen by the rule {method!r}, which this dashboard doesn't know"
    if weights in WEIGHTS and WEIGHTS[weights].weigh and round_ > 1:
        why += f", {WEIGHTS[weights].sentence}"
    asked = [one.suggestion for one in batch.statuses if one.suggestion.why]
    confirming = sum(one.confirms for one in asked)
    counted = ((len(asked) - confirming, "requested by people"), (confirming, "to confirm candidates of the last map"))
    wanted = ", ".join(f"{count} {what}" for count, what in counted if count)
    said = f"First {wanted}. The others: {why[0].lower()}{why[1:]}" if wanted else why
    return f"{said}; never one that is measured or pending, nor two side by side."


def _nearest(campaign: CampaignSnapshot, batch: Batch) -> list[tuple[str, float]]:
    """Return, for each alloy of a batch, the nearest asked for before, in words, and how far the next of it is."""
    shares = np.array([one.suggestion.composition for one in batch.statuses])
    among = 100 * KDTree(shares).query(shares, k=2)[0][:, 1] if len(shares) > 1 else np.array([np.nan])
    if not batch.rounds_before:
        return [("first batch", float(to_next)) for to_next in among]
    distances, nearest = map(np.asarray, KDTree(batch.before).query(shares))
    found = []
    for distance, row, to_next in zip(distances, nearest, among, strict=True):
        alloy = label(batch.before[row], campaign.elements)
        found.append((f"{100 * distance:.1f} at.%: {alloy} of round {batch.rounds_before[row]}", float(to_next)))
    return found


def _draw(campaign: CampaignSnapshot, batch: Batch, round_: int) -> go.Figure:
    """Draw what is measured by then, which of it this round asked for, and what of it is still to be measured."""
    map_, used = map_now(campaign), batch.measured
    distance = np.empty(0) if map_ is None else map_.values("distance")
    of_batch = {one.measurement for one in batch.statuses}
    ringed = np.array([id_ in of_batch for id_ in used.ids], dtype=bool)
    flagged = [one for one in campaign.flagged_used if one.id in used.ids]
    wanted = [one.suggestion for one in batch.statuses if one.suggestion.id in batch.missing]
    return draw_ternary(
        np.empty((0, 3)) if map_ is None else map_.compositions,
        distance,
        quantity="distance",
        elements=campaign.elements,
        limits=(0.0, colour_range(distance)[1]),
        marks=Marks(
            measured=used.compositions,
            measured_texts=used.ids,
            held_out=used.hold_out,
            flagged=np.array([one.composition for one in flagged]).reshape(-1, 3),
            flagged_texts=[one.id for one in flagged],
            ringed=used.compositions[ringed],
            ringed_texts=[*compress(used.ids, ringed)],
            ringed_name=f"measured, of round {round_}",
            batch=np.array([one.composition for one in wanted]).reshape(-1, 3),
            batch_texts=[f"{one.id}, to be held out" if one.hold_out else one.id for one in wanted],
        ),
        names=("measured, learned from", f"round {round_}, still to be measured"),
    )


def _where(one: Suggestion, *, has_samples: bool) -> dict[str, str | float | None]:
    """Return which sample of which wafer is asked for, and where it lies; nothing of a batch without samples."""
    if not has_samples:
        return {}
    return {"wafer": visible(one.wafer), "its sample": visible(one.sample), "x (mm)": one.x, "y (mm)": one.y}


def _show(campaign: CampaignSnapshot) -> None:
    if not campaign.round_at_work:
        st.info("No batch has been planned yet.")
        return
    last = campaign.round_at_work
    round_ = st.number_input("Round", 1, last, last, key=f"round of {last}") if last > 1 else 1
    batch = read_batch(campaign.folder, int(round_))
    has_samples = any(one.suggestion.sample for one in batch.statuses)
    rows = []
    for one, (nearest, to_next) in zip(batch.statuses, _nearest(campaign, batch), strict=True):
        found = batch.found.get(one.measurement or "")
        rows.append(
            {
                "sample": one.suggestion.id,
                "alloy (at.%)": label(np.array(one.suggestion.composition), campaign.elements),
                **_where(one.suggestion, has_samples=has_samples),
                "state": one.state + ", flagged" * one.is_flagged_and_used,
                "found (at.%)": "" if found is None else label(found, campaign.elements),
                "for": "hold-out" if one.suggestion.hold_out else "learning",
                "nearest asked for before": nearest,
                "next of the batch (at.%)": to_next,
                "remark": one.remark,
            }
        )
    table = pd.DataFrame(rows)
    failed = [row["sample"] for row in rows if row["state"] == "failed" and row["sample"] not in batch.missing]
    cover = campaign.coverage[int(round_) - 1]
    columns = st.columns(4)
    columns[0].metric("alloys", len(rows))
    columns[1].metric("still missing", len(batch.missing))
    columns[2].metric(
        "mean distance (at.%)", f"{cover.mean:.1f}", help="From an alloy of the space to the nearest asked for so far."
    )
    columns[3].metric("worst served (at.%)", f"{cover.worst:.1f}", help="The alloy farthest from all asked for so far.")
    if enough := describe_enough(campaign.status):
        st.info(plain(enough))
    for words, ids in (("Missing", batch.missing), ("Failed", failed)):
        if ids:
            st.markdown(f"**{words}:** {', '.join(ids[:SHOWN_IDS])}{' …' if len(ids) > SHOWN_IDS else ''}")
    ids = {id_ for one in batch.statuses for id_ in (one.suggestion.id, one.measurement) if id_ is not None}
    show_notes([note for note in campaign.status.notes if note.round == round_ or note.measurement in ids])
    if len(campaign.elements) == 3:
        show_ternary(_draw(campaign, batch, int(round_)), key="batch")
        st.caption(
            "Circles: measured, where it was found; squares: held out, never learned from. Rings: of this round; "
            "red crosses: of this round and still to be measured. What was rejected, abandoned or retracted, has "
            "failed, or waits flagged for a person is only in the table. Colour: distance to the nearest alloy that "
            "the model of the last map learned from; those held out don't count."
        )
    for one in [one for one in batch.statuses if one.state == "flagged" or one.is_flagged_and_used][:SHOWN_FLAGS]:
        picture = campaign.folder / "pictures" / f"flagged-{one.measurement}.png"
        if picture.exists():
            st.image(picture.read_bytes(), caption=f"{one.measurement}: {one.remark}", width=640)
    st.markdown(_rule(campaign, batch, int(round_)))
    formats = {"next of the batch (at.%)": st.column_config.NumberColumn(format="%.1f")}
    height = "content" if len(table) <= SHOWN_WHOLE else "auto"
    st.dataframe(table, hide_index=True, key="alloys", column_config=formats, height=height, placeholder="")
    order = campaign.folder / "orders" / f"round-{round_:03d}.csv"
    if order.exists():
        st.download_button("Order file", order.read_bytes(), order.name, "text/csv")
        st.caption(f"`{order}`")
    else:
        st.download_button(
            "As CSV",
            table.map(spreadsheet_cell).to_csv(index=False),
            f"{campaign.name}-round-{round_:03d}.csv",
            "text/csv",
        )


_show(chosen(lambda campaign: (campaign.round_at_work, campaign.status, campaign.n_failed, campaign.map)))

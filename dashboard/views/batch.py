"""What is measured next, why, and what is missing."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from scipy.spatial.distance import cdist

from glassmap.agent.data.composition import label
from glassmap.agent.outside_text import spreadsheet_cell
from glassmap.agent.planning.acquisition import RULES, rule_of
from glassmap.agent.shapes import Compositions
from glassmap.agent.store.records import Suggestion
from glassmap.dashboard.data import CampaignSnapshot, read_suggestion_statuses
from glassmap.dashboard.live import chosen, map_now
from glassmap.dashboard.plots.maps import Marks, draw_ternary

SHOWN_IDS = 30  # of samples, in a line


def _rule(campaign: CampaignSnapshot, round_: int) -> str:
    """Return why the alloys of a batch are chosen, in a sentence."""
    settings = campaign.settings
    if settings.method in RULES:
        why = rule_of(settings.method, has_model=round_ not in (1, settings.first_own_round)).sentence
    else:
        why = f"Chosen by the rule {settings.method!r}, which this dashboard doesn't know"
    if settings.weights == "disagreement" and round_ > 1:
        why += ", the more where the model is unsure"
    return f"{why}; never one that is measured or pending, nor two side by side."


def _nearest(campaign: CampaignSnapshot, round_: int) -> list[tuple[str, float]]:
    """Return, for each alloy of a batch, the nearest asked for before, in words, and how far the next of it is."""
    batch = campaign.batch(round_)
    earlier = [one for one in campaign.suggestions if one.round < round_]
    shares, before = _shares(campaign, batch), _shares(campaign, earlier)
    among = 100 * cdist(shares, shares)
    np.fill_diagonal(among, np.nan)
    to_before = 100 * cdist(shares, before)
    found = []
    for k in range(len(batch)):
        words = "first batch"
        if len(before):
            nearest = int(np.argmin(to_before[k]))
            alloy = label(before[nearest], campaign.elements)
            words = f"{to_before[k, nearest]:.1f} at.%: {alloy} of round {earlier[nearest].round}"
        found.append((words, float(np.nanmin(among[k])) if len(batch) > 1 else np.nan))
    return found


def _shares(campaign: CampaignSnapshot, suggestions: Sequence[Suggestion]) -> Compositions:
    return np.array([one.composition for one in suggestions]).reshape(-1, len(campaign.elements))


def _show(campaign: CampaignSnapshot) -> None:
    if not campaign.suggestions:
        st.info("No batch has been planned yet.")
        return
    last = campaign.round_at_work
    round_ = st.number_input("Round", 1, last, last, key=f"round of {last}") if last > 1 else 1
    statuses = read_suggestion_statuses(campaign.folder, int(round_))
    before = _shares(campaign, [one for one in campaign.suggestions if one.round < round_])
    measured = {m.id: m for m in campaign.measured}
    rows = []
    for one, (nearest, to_next) in zip(statuses, _nearest(campaign, int(round_)), strict=False):
        found = measured.get(one.measurement or "")
        rows.append(
            {
                "sample": one.suggestion.id,
                "alloy (at.%)": label(np.array(one.suggestion.composition), campaign.elements),
                "state": one.state,
                "found (at.%)": "" if found is None else label(np.array(found.composition), campaign.elements),
                "for": "hold-out" if one.suggestion.hold_out else "learning",
                "nearest asked for before": nearest,
                "next of the batch (at.%)": to_next,
                "remark": one.reason,
            }
        )
    table = pd.DataFrame(rows)
    missing = [one.id for one in campaign.pending if one.round == round_]
    failed = [row["sample"] for row in rows if row["state"] == "failed" and row["sample"] not in missing]
    cover = campaign.coverage[int(round_) - 1]
    columns = st.columns(4)
    columns[0].metric("alloys", len(rows))
    columns[1].metric("still missing", len(missing))
    columns[2].metric(
        "mean distance (at.%)", f"{cover.mean:.1f}", help="From an alloy of the space to the nearest asked for so far."
    )
    columns[3].metric("worst served (at.%)", f"{cover.worst:.1f}", help="The alloy farthest from all asked for so far.")
    for words, ids in (("Missing", missing), ("Failed", failed)):
        if ids:
            st.markdown(f"**{words}:** {', '.join(ids[:SHOWN_IDS])}{' …' if len(ids) > SHOWN_IDS else ''}")
    if len(campaign.elements) == 3:
        wanted = [one.suggestion for one in statuses if one.state not in ("rejected", "abandoned")]
        map_ = map_now(campaign)
        figure = draw_ternary(
            np.empty((0, 3)) if map_ is None else map_.compositions,
            np.empty(0) if map_ is None else map_.figures["distance"].to_numpy(dtype=np.float64),
            quantity="distance",
            elements=campaign.elements,
            limits=(0.0, 15.0),
            marks=Marks(measured=before, batch=_shares(campaign, wanted), batch_texts=[one.id for one in wanted]),
            names=("asked for before", f"round {round_}"),
        )
        st.plotly_chart(figure, width="stretch", key="batch")
        st.caption(
            "Circles: asked for in earlier rounds; crosses: this batch, but what was rejected or abandoned. "
            "Colour: distance as of the last map."
        )
    st.markdown(_rule(campaign, int(round_)))
    formats = {"next of the batch (at.%)": st.column_config.NumberColumn(format="%.1f")}
    st.dataframe(table, hide_index=True, key="alloys", column_config=formats)
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


_show(chosen(lambda campaign: (campaign.round_at_work, campaign.status, len(campaign.failures), campaign.map)))

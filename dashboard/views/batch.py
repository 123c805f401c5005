"""What is measured next, why, and what is missing."""

import numpy as np
import pandas as pd
import streamlit as st
from scipy.spatial.distance import cdist

from agent.composition import label
from agent.shapes import Compositions
from dashboard.data import Campaign, read_standings
from dashboard.live import chosen, map_now
from dashboard.plots import Marks, draw_ternary


def _reasons(campaign: Campaign, round_: int) -> tuple[list[str], Compositions]:
    """Why each alloy of a batch was chosen, in words, and what was asked for before it."""
    batch = campaign.batch(round_)
    earlier = [one for one in campaign.suggestions if one.round < round_]
    e = len(campaign.elements)
    before = np.array([one.composition for one in earlier]).reshape(-1, e)
    shares = np.array([one.composition for one in batch]).reshape(-1, e)
    planning = campaign.config["planning"]
    rule = {
        "uniform": "serves the alloys that were far from all",
        "farthest": "is farthest from all others",
        "random": "was drawn at random",
    }[planning["method"]]
    if planning["weights"] == "disagreement" and round_ > 1:
        rule += ", the more where members disagree"
    reasons = []
    for k in range(len(batch)):
        among = np.delete(shares, k, axis=0)
        beside = f"{100 * cdist(shares[[k]], among).min():.1f} at.% to the next of the batch" if len(among) else ""
        if len(before):
            distance = 100 * cdist(shares[[k]], before)[0]
            nearest = earlier[int(np.argmin(distance))]
            words = f"{rule}: {distance.min():.1f} at.% from {label(np.array(nearest.composition), campaign.elements)}"
            reasons.append(f"{words} of round {nearest.round}" + (f"; {beside}" if beside else ""))
        else:
            reasons.append(f"{rule} (first batch)" + (f"; {beside}" if beside else ""))
    return reasons, before


def _show(campaign: Campaign) -> None:
    if not campaign.suggestions:
        st.info("No batch has been planned yet.")
        return
    last = campaign.round_at_work
    round_ = st.number_input("Round", 1, last, last, key=f"round of {last}") if last > 1 else 1
    standings = read_standings(campaign.folder, int(round_))
    reasons, before = _reasons(campaign, int(round_))
    measured = {m.id: m for m in campaign.measured}
    rows = []
    for one, reason in zip(standings, reasons, strict=False):
        found = measured.get(one.measurement or "")
        rows.append(
            {
                "sample": one.suggestion.id,
                "alloy (at.%)": label(np.array(one.suggestion.composition), campaign.elements),
                "state": one.state,
                "found (at.%)": "" if found is None else label(np.array(found.composition), campaign.elements),
                "for": "hold-out" if one.suggestion.hold_out else "learning",
                "why chosen": reason,
                "remark": one.reason,
            }
        )
    table = pd.DataFrame(rows)
    missing = [row["sample"] for row in rows if row["state"] in ("missing", "failed")]
    cover = campaign.coverage[int(round_) - 1]
    columns = st.columns(4)
    columns[0].metric("alloys", len(rows))
    columns[1].metric("still missing", len(missing))
    columns[2].metric(
        "mean distance (at.%)", f"{cover.mean:.1f}", help="From an alloy of the space to the nearest asked for so far."
    )
    columns[3].metric("worst served (at.%)", f"{cover.worst:.1f}", help="The alloy farthest from all asked for so far.")
    if missing:
        st.markdown(f"**Missing:** {', '.join(missing[:30])}{' …' if len(missing) > 30 else ''}")
    if len(campaign.elements) == 3:
        shares = np.array([one.suggestion.composition for one in standings])
        map_ = map_now(campaign)
        figure = draw_ternary(
            np.empty((0, 3)) if map_ is None else map_.compositions,
            np.empty(0) if map_ is None else map_.figures["distance"].to_numpy(dtype=np.float64),
            quantity="distance",
            elements=campaign.elements,
            limits=(0.0, 15.0),
            marks=Marks(measured=before, batch=shares, batch_texts=[one.suggestion.id for one in standings]),
        )
        st.plotly_chart(figure, width="stretch", key="batch")
        st.caption("Circles: asked for in earlier rounds; crosses: this batch. Colour: distance as of the last map.")
    st.dataframe(table, hide_index=True, key="alloys")
    order = campaign.folder / "orders" / f"round-{round_:03d}.csv"
    if order.exists():
        st.download_button("Order file", order.read_bytes(), order.name, "text/csv")
        st.caption(f"`{order}`")
    else:
        st.download_button("As CSV", table.to_csv(index=False), f"{campaign.name}-round-{round_:03d}.csv", "text/csv")


_show(chosen(lambda campaign: (campaign.round_at_work, campaign.status, len(campaign.failures), campaign.map)))

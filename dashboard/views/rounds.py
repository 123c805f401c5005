"""What was done, round by round and line by line."""

import math
from typing import Any

import pandas as pd
import streamlit as st

from glassmap.agent.models.description import AS_PUBLISHED
from glassmap.agent.outside_text import visible
from glassmap.agent.peaks.figures import DELTA_Q, said
from glassmap.agent.peaks.measures import MSE, Measure
from glassmap.agent.planning.convergence import TRENDS, Estimate
from glassmap.dashboard.data import (
    CampaignSnapshot,
    map_changes,
    read_last_log_lines,
    read_log_words,
    read_round_counts,
)
from glassmap.dashboard.learning import measures_of, say_hold_out
from glassmap.dashboard.live import chosen, plain
from glassmap.dashboard.notes import show_notes

SHOWN_CHANGES = 30  # rounds whose maps are compared; each costs reading two files
DECIDED = {"continue": "go on", "converged": "converged", "exhausted": "budget spent"}
TALLEST = 465  # pixels of a table, twelve rounds; what is longer scrolls
SHOWN_LINES = 1000  # of the log; a laboratory's has a line a measurement


@st.cache_data(max_entries=16, show_spinner=False)
def _changes(folder: str, rounds: list[int], _campaign: CampaignSnapshot) -> dict[int, tuple[float, float]]:
    return map_changes(_campaign, rounds)


def _rounds(campaign: CampaignSnapshot) -> None:
    if not campaign.round_at_work:
        st.info("No round has been planned yet.")
        return
    points = {point.round: point for point in campaign.curve}
    counts = read_round_counts(campaign.folder)
    changes = _changes(str(campaign.folder), sorted(campaign.maps)[-SHOWN_CHANGES:], campaign)
    measures = measures_of(campaign.curve)
    rows = []
    for round_ in range(campaign.round_at_work, 0, -1):
        point, decision, change = points.get(round_), campaign.decisions.get(round_), changes.get(round_, (None, None))
        rows.append(
            {
                "round": round_,
                "decided": "" if decision is None else DECIDED.get(decision.state, decision.state),
                "trend": "" if decision is None or decision.trend is None else TRENDS[decision.trend],
                "asked for": counts.asked.get(round_, 0),
                "came": counts.came.get(round_, 0),
                "failed": counts.failed.get(round_, 0),
                "learned from": "" if point is None else str(point.spectra),
                f"mean change of {DELTA_Q.head}": _changed(change[0]),
                "largest change": _changed(change[1]),
                "model": _model(campaign, round_),
            }
        )
    _table(rows, key="rounds")
    st.caption(
        "Changes are those of the map against that of the round before, over all alloys with a peak in both."
        + (f" The last {SHOWN_CHANGES} rounds." if len(campaign.maps) > SHOWN_CHANGES else "")
    )
    if campaign.curve:
        st.markdown("**How far off the model was**")
        rows = [
            {"round": point.round}
            | {one.head: _said(point.hold_out[one.name], one) if one.name in point.hold_out else "" for one in measures}
            | {"MSE of one sample": "" if math.isnan(point.mse_sample) else MSE.say(point.mse_sample)}
            for point in campaign.curve[::-1]
        ]
        _table(rows, key="errors")
        st.caption(say_hold_out(campaign.curve))
    if (model := campaign.status.ensemble) is not None:
        st.markdown("**What the newest model is**")
        st.markdown(plain(model.sentence))
        st.caption(AS_PUBLISHED)
    if campaign.decisions:
        st.markdown("**What was decided, and why**")
    for round_, decision in sorted(campaign.decisions.items(), reverse=True):
        st.markdown(f"Round {round_}: {plain(decision.reason)}")
    if campaign.status.notes:
        st.markdown("**What people noted**")
        show_notes(campaign.status.notes[::-1])


def _table(rows: list[dict[str, Any]], *, key: str) -> None:
    """Show rows of words and numbers, as high as they need; in a column of texts nothing is nothing, not None."""
    st.dataframe(pd.DataFrame(rows), hide_index=True, key=key, height=min(TALLEST, 38 + 35 * len(rows)))


def _changed(by: float | None) -> str:
    return "" if by is None else f"{by:.{DELTA_Q.digits + 1}f}"


def _said(error: Estimate, measure: Measure) -> str:
    return said(*error, digits=measure.digits, unit="")


def _model(campaign: CampaignSnapshot, round_: int) -> str:
    path = campaign.checkpoints.get(round_)
    return "" if path is None else path.stem


def _log(campaign: CampaignSnapshot) -> None:
    known = read_log_words(campaign.folder)
    columns = st.columns(3)
    events = columns[0].multiselect("What", known.events, format_func=visible, key="events")
    people = columns[1].multiselect("Who", known.people, format_func=visible, key="people")
    text = columns[2].text_input("Contains", key="contains")
    lines, fitting = read_last_log_lines(campaign.folder, SHOWN_LINES, events=events, people=people, text=text)
    table = pd.DataFrame(lines, columns=["time", "who", "what", "about", "detail"])
    table["time"] = pd.to_datetime(table["time"])
    st.dataframe(
        table,
        hide_index=True,
        key="log",
        height=480,
        column_config={
            "time": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
            "detail": st.column_config.TextColumn(width="large"),
        },
    )
    st.caption(f"{len(lines)} of {fitting} lines, the last first. Times are UTC.")


campaign_ = chosen(lambda campaign: (campaign.last_activity, campaign.status.state))
rounds, log = st.tabs(["Rounds", "Log"])
with rounds:
    _rounds(campaign_)
with log:
    _log(campaign_)

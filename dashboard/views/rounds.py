"""What was done, round by round and line by line."""

import pandas as pd
import streamlit as st

from glassmap.agent.models.description import AS_PUBLISHED
from glassmap.agent.outside_text import visible
from glassmap.agent.peaks.figures import DELTA_Q, said
from glassmap.agent.peaks.measures import Measure
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

SHOWN_CHANGES = 30  # rounds whose maps are compared; each costs reading two files
DECIDED = {"continue": "go on", "converged": "converged", "exhausted": "budget spent"}
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
        point, decision, change = points.get(round_), campaign.decisions.get(round_), changes.get(round_)
        found = {} if point is None else point.hold_out
        rows.append(
            {
                "round": round_,
                "decided": "" if decision is None else DECIDED.get(decision.state, decision.state),
                "trend": "" if decision is None or decision.trend is None else TRENDS[decision.trend],
                "asked for": counts.asked.get(round_, 0),
                "came": counts.came.get(round_, 0),
                "failed": counts.failed.get(round_, 0),
                "learned from": None if point is None else point.spectra,
                **{one.head: "" if one.name not in found else _said(found[one.name], one) for one in measures},
                "one sample": None if point is None else point.mse_sample,
                f"mean change of {DELTA_Q.head}": None if change is None else change[0],
                "largest change": None if change is None else change[1],
                "model": _model(campaign, round_),
            }
        )
    formats = {"one sample": "%.3g"}
    formats |= dict.fromkeys((f"mean change of {DELTA_Q.head}", "largest change"), f"%.{DELTA_Q.digits + 1}f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="rounds",
        placeholder="",
        column_config={name: st.column_config.NumberColumn(format=style) for name, style in formats.items()},
    )
    st.caption(
        "Changes are those of the map against that of the round before, over all alloys with a peak in both."
        + (f" The last {SHOWN_CHANGES} rounds." if len(campaign.maps) > SHOWN_CHANGES else "")
        + (f" {say_hold_out(campaign.curve)}" if campaign.curve else "")
    )
    if (model := campaign.status.ensemble) is not None:
        st.markdown("**What the newest model is**")
        st.markdown(plain(model.sentence))
        st.caption(AS_PUBLISHED)
    if campaign.decisions:
        st.markdown("**What was decided, and why**")
    for round_, decision in sorted(campaign.decisions.items(), reverse=True):
        st.markdown(f"Round {round_}: {plain(decision.reason)}")


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

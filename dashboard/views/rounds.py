"""What was done, round by round and line by line."""

from collections import Counter

import pandas as pd
import streamlit as st

from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.dashboard.data import CampaignSnapshot, map_changes, read_log
from glassmap.dashboard.live import chosen

SHOWN_CHANGES = 30  # rounds whose maps are compared; each costs reading two files


@st.cache_data(max_entries=16, show_spinner=False)
def _changes(folder: str, rounds: list[int], _campaign: CampaignSnapshot) -> dict[int, tuple[float, float]]:
    return map_changes(_campaign, rounds)


def _rounds(campaign: CampaignSnapshot) -> None:
    if not campaign.suggestions:
        st.info("No round has been planned yet.")
        return
    points = {point.round: point for point in campaign.curve}
    asked = Counter(one.round for one in campaign.suggestions)
    came = Counter(m.round for m in campaign.measured)
    rounds_of = {one.id: one.round for one in campaign.suggestions}
    failed = Counter(rounds_of[id_] for id_ in campaign.failures)
    changes = _changes(str(campaign.folder), sorted(campaign.maps)[-SHOWN_CHANGES:], campaign)
    errors = {figure.name: f"error of {figure.head}" for figure in FIGURES}
    rows = []
    for round_ in range(campaign.round_at_work, 0, -1):
        point, decision, change = points.get(round_), campaign.decisions.get(round_), changes.get(round_)
        rows.append(
            {
                "round": round_,
                "asked for": asked[round_],
                "came": came[round_],
                "failed": failed[round_],
                "learned from": None if point is None else point.spectra,
                "hold-out MSE": None if point is None else point.mse,
                "one sample": None if point is None else point.mse_sample,
                **{name: None if point is None else point.peak_errors.get(key) for key, name in errors.items()},
                f"mean change of {DELTA_Q.head}": None if change is None else change[0],
                "largest change": None if change is None else change[1],
                "model": _model(campaign, round_),
                "decision": "" if decision is None else decision.reason,
            }
        )
    formats = {"hold-out MSE": "%.3g", "one sample": "%.3g"}
    formats |= {errors[figure.name]: f"%.{figure.digits + 1}f" for figure in FIGURES}
    formats |= dict.fromkeys((f"mean change of {DELTA_Q.head}", "largest change"), f"%.{DELTA_Q.digits + 1}f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="rounds",
        placeholder="",
        column_config={name: st.column_config.NumberColumn(format=style) for name, style in formats.items()}
        | {"decision": st.column_config.TextColumn(width="large")},
    )
    st.caption(
        "Changes are those of the map against that of the round before, over all alloys with a peak in both."
        + (f" The last {SHOWN_CHANGES} rounds." if len(campaign.maps) > SHOWN_CHANGES else "")
    )


def _model(campaign: CampaignSnapshot, round_: int) -> str:
    path = campaign.checkpoints.get(round_)
    return "" if path is None else path.stem


def _log(campaign: CampaignSnapshot) -> None:
    lines = read_log(campaign.folder)
    columns = st.columns(3)
    events = columns[0].multiselect("What", sorted({line.event for line in lines}), key="events")
    people = columns[1].multiselect("Who", sorted({line.person for line in lines}), key="people")
    text = columns[2].text_input("Contains", key="contains")
    kept = [
        line
        for line in reversed(lines)
        if (not events or line.event in events)
        and (not people or line.person in people)
        and (not text or text.lower() in f"{line.subject} {line.detail}".lower())
    ]
    table = pd.DataFrame(kept, columns=["time", "who", "what", "about", "detail"])
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
    st.caption(f"{len(kept)} of {len(lines)} lines, the last first. Times are UTC.")


campaign_ = chosen(lambda campaign: (campaign.last_activity, campaign.status.state))
rounds, log = st.tabs(["Rounds", "Log"])
with rounds:
    _rounds(campaign_)
with log:
    _log(campaign_)

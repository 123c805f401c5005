"""The first page: every campaign in five seconds."""

import math
from datetime import datetime
from pathlib import Path

import streamlit as st
from cronsim import CronSim

from glassmap.agent.errors import GlassmapError
from glassmap.agent.maps.glass import percent, say_how_surely
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import MSE
from glassmap.agent.store.status import STOPPED
from glassmap.dashboard.data import CampaignSnapshot, Unreadable
from glassmap.dashboard.learning import UNKNOWN, measures_of, say_hold_out, say_trend
from glassmap.dashboard.live import (
    ago,
    alloy_of,
    badge_of,
    best_place,
    name_of,
    plain,
    sentences_of,
    watch,
)
from glassmap.dashboard.notes import show_notes
from glassmap.dashboard.thumbnail import Thumbnail, draw_thumbnail

URGENCY = ("failed", "broken", "waiting", "paused", "idle", "running", "new", "exhausted", "converged")
ANOTHER = """
What it would have done with a set of scans that you have:

    glassmap import scans --compositions table.csv -o mine.nc
    glassmap replay mine.nc --folder campaigns/mine

A new campaign in the laboratory, in a system and over a range of your own:

    glassmap init campaigns/mine --lab Co-V-Zr --range 1.5 4.5 --wavelength 1.5406
    glassmap run campaigns/mine

One in the folder that is shown here appears on this page by itself.
"""


def _needs(campaign: CampaignSnapshot) -> tuple:
    return campaign.state, campaign.status, campaign.last_activity, campaign.map


def _urgency(campaign: CampaignSnapshot | Unreadable) -> tuple[bool, int]:
    calm = isinstance(campaign, CampaignSnapshot) and not campaign.status.needs_person
    return calm, URGENCY.index(campaign.state)


def _next_batch(campaign: CampaignSnapshot) -> str:
    awaited = campaign.awaited
    if not awaited:
        return f"the batch of round {campaign.round_at_work + 1}, planned once this round is done"
    first = ", ".join(alloy_of(one.composition, campaign.elements) for one in awaited[:3])
    return f"{len(awaited)} of round {campaign.round_at_work}: {first}{', …' if len(awaited) > 3 else ''}"


def _due(campaign: CampaignSnapshot) -> tuple[str, str]:
    """Return what has to come next for it to go on, and more of that, such as since when."""
    status, retrain = campaign.status, campaign.settings.retrain
    if status.state == "failed":
        return "repair", f"{status.stage} of round {status.round}"
    if status.waiting_for == "approval":
        return "approval", f"of round {status.round}"
    if status.missing and status.stage == "measure":
        since = "" if status.ordered is None else f", asked for {ago(status.ordered)}"
        return f"{status.missing} of {status.asked} spectra", f"round {status.round}{since}"
    if status.state in STOPPED and any(status.to_look_at):
        flagged = status.to_look_at.flagged + status.to_look_at.used_flagged
        return "a decision", "on " + ", ".join(
            filter(None, (str(status.to_look_at), f"{flagged} flagged" * bool(flagged)))
        )
    if retrain is not None:
        return f"{next(CronSim(retrain, datetime.now())):%d %b %H:%M}", "trained anew"
    if status.state in STOPPED:
        return "nothing", "the campaign has stopped"
    return status.stage or "plan", f"round {status.round or 1}"


def _show(campaign: CampaignSnapshot | Unreadable) -> None:
    if isinstance(campaign, Unreadable):
        st.markdown(f"##### {plain(campaign.name)} {badge_of(campaign)}")
        st.markdown(sentences_of(campaign))
        return
    person = " :orange-badge[:material/person_alert: needs you]" if campaign.status.needs_person else ""
    elements = "–".join(campaign.elements)
    st.markdown(f"##### {plain(campaign.name)} · {elements} {badge_of(campaign)}{person}")
    picture = None if campaign.map is None else _thumbnail(campaign.map, campaign.has_glass_boundary, campaign)
    if picture is None:
        _show_figures(campaign)
        return
    left, right = st.columns([1, 5])
    with left.container(key=f"small-map {campaign.folder}"):  # the key says how wide it is, in app.py
        st.image(picture.png, caption=picture.caption, width="stretch", alt=picture.words)
    with right:
        _show_figures(campaign)


@st.cache_data(max_entries=500, show_spinner=False)  # each some 15 kB
def _thumbnail(map_: tuple[int, Path], has_boundary: bool, _campaign: CampaignSnapshot) -> Thumbnail | None:
    try:
        return draw_thumbnail(_campaign)
    except GlassmapError:  # what can't be read is said beside the candidates
        return None


def _show_figures(campaign: CampaignSnapshot) -> None:
    """Show what a campaign has found, how sure that is and what is due; then the same in sentences."""
    name = name_of(campaign.folder, st.session_state.folders)
    with st.container(horizontal=True, gap="medium"):
        _show_glass(campaign)
        _show_error(campaign)
        rounds = f"round {campaign.round_at_work} of {campaign.settings.stop.max_rounds}"
        _metric("spectra", str(campaign.status.spectra), rounds, help="Measured so far, held out ones included.")
        _metric("next due", *_due(campaign))
    st.markdown(sentences_of(campaign))
    lines = [] if campaign.state in STOPPED else [f"**Measured next:** {_next_batch(campaign)}"]
    if not campaign.status.failure and (best := best_place(campaign)) is not None:
        lines.insert(0, f"**Best candidate:** {best}")
    elif campaign.curve and campaign.q is None:
        lines.insert(0, f"g(r) has no {DELTA_Q.label}, so there is no map")
    if lines:
        st.markdown("  \n".join(lines))
    show_notes(campaign.status.notes[-1:])
    with st.container(horizontal=True):
        for page, is_there in (("map", campaign.map), ("progress", campaign.curve), ("batch", campaign.awaited)):
            if is_there:
                st.page_link(st.session_state.pages[page], query_params={"campaign": name})
    if (model := campaign.status.ensemble) is not None:
        st.caption(f"Model: {plain(model.sentence)}")
    st.caption(f"Last activity {ago(campaign.last_activity)}" + (f" · {campaign.source}" if campaign.source else ""))


def _show_glass(campaign: CampaignSnapshot) -> None:
    """Show how much of the space is a glass, and how surely; nothing where nobody can say."""
    glass = campaign.status.glass
    if glass is not None and campaign.status.headline:
        more = say_how_surely(glass)
        _metric("glass", percent(glass.glass), more, help=f"Of all alloys. {plain(campaign.status.headline)}")


def _show_error(campaign: CampaignSnapshot) -> None:
    """Show how far off the last model is; in no colour that would praise or blame."""
    if not campaign.curve:
        return
    hold_out, measures = campaign.curve[-1].hold_out, measures_of(campaign.curve)
    measure = next((one for one in measures if one.name == DELTA_Q.name), MSE)
    error = hold_out.get(measure.name, UNKNOWN)
    label, value = f"{measure.label}, held out", measure.say(*error)
    if measure.name == DELTA_Q.name and not math.isnan(error.value):
        label, value = f"{DELTA_Q.label} known to", f"± {DELTA_Q.say(error.value)}"
    _metric(label, value, say_trend(campaign), help=f"{say_hold_out(campaign.curve)} This one: {measure.say(*error)}.")


def _metric(label: str, value: str, more: str, *, help: str | None = None) -> None:
    """Show a figure, and below it in grey what belongs to it."""
    st.metric(label, value, more or None, delta_color="off", delta_arrow="off", help=help, width="content")


for one in sorted(watch(st.session_state.folders, _needs), key=_urgency):
    with st.container(border=True):
        _show(one)
with st.expander("Another campaign"):
    st.markdown(ANOTHER)

"""The first page: every campaign in five seconds."""

import math

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import MSE
from glassmap.dashboard.data import CampaignSnapshot, Unreadable
from glassmap.dashboard.learning import UNKNOWN, measures_of, say_trend
from glassmap.dashboard.live import (
    ago,
    alloy_of,
    badge_of,
    best_place,
    headline_of,
    name_of,
    plain,
    sentences_of,
    watch,
)

URGENCY = ("failed", "broken", "waiting", "paused", "idle", "running", "new", "exhausted", "converged")


def _needs(campaign: CampaignSnapshot) -> tuple:
    return campaign.state, campaign.status, campaign.last_activity, campaign.map


def _urgency(campaign: CampaignSnapshot | Unreadable) -> tuple[bool, int]:
    calm = isinstance(campaign, CampaignSnapshot) and not campaign.status.needs_person
    return calm, URGENCY.index(campaign.state)


def _next_batch(campaign: CampaignSnapshot) -> str:
    if campaign.state in ("converged", "exhausted"):
        return "nothing: the campaign has stopped"
    awaited = campaign.awaited
    if not awaited:
        return f"the batch of round {campaign.round_at_work + 1}, planned once this round is done"
    first = ", ".join(alloy_of(one.composition, campaign.elements) for one in awaited[:3])
    return f"{len(awaited)} of round {campaign.round_at_work}: {first}{', …' if len(awaited) > 3 else ''}"


def _show(campaign: CampaignSnapshot | Unreadable) -> None:
    name = name_of(campaign.folder, st.session_state.folders)
    if isinstance(campaign, Unreadable):
        st.markdown(f"##### {plain(campaign.name)} {badge_of(campaign)}")
        st.markdown(sentences_of(campaign))
        return
    person = " :red-badge[:material/person_alert: needs you]" if campaign.status.needs_person else ""
    elements = "–".join(campaign.elements)
    st.markdown(f"##### {plain(campaign.name)} · {elements} {badge_of(campaign)}{person}")
    st.markdown(sentences_of(campaign))
    lines = [f"**Measured next:** {_next_batch(campaign)}"]
    if not campaign.status.failure and (best := best_place(campaign)) is not None:
        lines.insert(0, f"**Best candidate:** {best}")
    elif campaign.curve and campaign.q is None:
        lines.insert(0, f"g(r) has no {DELTA_Q.label}, so there is no map")
    st.markdown("  \n".join(filter(None, [headline_of(campaign), *lines])))
    error, counts = st.columns(2)
    _show_error(campaign, error)
    with counts.container(horizontal=True, gap="large"):
        st.metric("spectra", campaign.status.spectra, help="Measured so far, held out ones included.", width="content")
        rounds = f"{campaign.round_at_work} of {campaign.settings.stop.max_rounds}"
        st.metric("round", rounds, width="content")
    left, right, _ = st.columns([1, 1, 4], vertical_alignment="center")
    for column, page, words in ((left, "map", "Map"), (right, "progress", "Progress")):
        if column.button(words, key=f"{page} {campaign.folder}", width="stretch"):
            st.session_state.campaign = name
            st.switch_page(st.session_state.pages[page], query_params={"campaign": name})
    if (model := campaign.status.ensemble) is not None:
        st.caption(f"Model: {plain(model.sentence)}")
    st.caption(f"Last activity {ago(campaign.last_activity)}" + (f" · {campaign.source}" if campaign.source else ""))


def _show_error(campaign: CampaignSnapshot, place: DeltaGenerator) -> None:
    """Show how far off the last model is and how sure that is; in no colour that would praise or blame."""
    measures = measures_of(campaign.curve)
    measure = next((one for one in measures if one.name == DELTA_Q.name), MSE)
    errors = [point.hold_out.get(measure.name, UNKNOWN) for point in campaign.curve]
    values = [found.value for found in errors if not math.isnan(found.value)]
    place.metric(
        f"{measure.label}, held out",
        measure.say(*errors[-1]) if errors else "–",
        say_trend(campaign) or None,
        delta_color="off",
        delta_arrow="off",
        chart_data=values if len(values) > 2 else None,
        help="Mean over spectra never learned from, ± standard error; the line is the learning curve.",
    )


for one in sorted(watch(st.session_state.folders, _needs), key=_urgency):
    with st.container(border=True):
        _show(one)

"""The first page: every campaign in five seconds."""

import streamlit as st

from dashboard.data import Campaign, Unreadable, ago
from dashboard.live import STATES, alloy_of, map_now, name_of, plain, watch, widest

URGENCY = ("failed", "broken", "waiting", "paused", "idle", "running", "new", "exhausted", "converged")


def _needs(campaign: Campaign) -> tuple:
    return campaign.state, campaign.status, campaign.to_look_at, campaign.last_activity, campaign.map


def _urgency(campaign: Campaign | Unreadable) -> tuple[bool, int]:
    calm = isinstance(campaign, Campaign) and not campaign.needs_person
    return calm, URGENCY.index(campaign.state)


def _next_batch(campaign: Campaign) -> str:
    if campaign.state in ("converged", "exhausted"):
        return "nothing: the campaign has stopped"
    batch = [one for one in campaign.batch(campaign.round_at_work)]
    measured = {m.suggestion for m in campaign.measured}
    open_ = [one for one in batch if one.id not in measured and one.id not in campaign.failures]
    if not open_:
        return f"the batch of round {campaign.round_at_work + 1}, planned once this round is done"
    first = ", ".join(alloy_of(one.composition, campaign.elements) for one in open_[:3])
    return f"{len(open_)} of round {campaign.round_at_work}: {first}{', …' if len(open_) > 3 else ''}"


def _show(campaign: Campaign | Unreadable) -> None:
    words, colour, icon = STATES[campaign.state]
    name = name_of(campaign.folder, st.session_state.folders)
    if isinstance(campaign, Unreadable):
        st.markdown(f"##### {plain(campaign.name)} :{colour}-badge[{icon} {words}]")
        st.markdown(plain(campaign.reason))
        return
    person = " :red-badge[:material/person_alert: needs you]" if campaign.needs_person else ""
    elements = "–".join(campaign.elements)
    st.markdown(f"##### {plain(campaign.name)} · {elements} :{colour}-badge[{icon} {words}]{person}")
    st.markdown(plain(campaign.status.reason))
    mse = [point.mse for point in campaign.curve]
    error, spectra, round_ = st.columns([2, 1, 1])
    error.metric(
        "hold-out MSE",
        f"{mse[-1]:.3g}" if mse else "–",
        f"{100 * (mse[-1] / mse[-2] - 1):+.0f} % by the last round" if len(mse) > 1 else None,
        delta_color="inverse",
        chart_data=mse if len(mse) > 1 else None,
        help="On spectra never learned from, intensity 0–100; the line is the learning curve.",
    )
    spectra.metric("spectra", campaign.status.spectra, help="Measured so far, held out ones included.")
    round_.metric("round", f"{campaign.round_at_work} of {campaign.config['stop']['max_rounds']}")
    lines = [f"**Measured next:** {_next_batch(campaign)}"]
    if (best := widest(campaign)) is not None:
        lines.insert(0, f"**Δq is largest at** {best}")
    elif map_now(campaign) is None and campaign.curve and campaign.q is None:
        lines.insert(0, "g(r) has no Δq, so there is no map")
    st.markdown("  \n".join(lines))
    left, right, _ = st.columns([1, 1, 4], vertical_alignment="center")
    for column, page, words in ((left, "map", "Map"), (right, "progress", "Progress")):
        if column.button(words, key=f"{page} {campaign.folder}", width="stretch"):
            st.session_state.campaign = name
            st.switch_page(st.session_state.pages[page], query_params={"campaign": name})
    st.caption(f"Last activity {ago(campaign.last_activity)}" + (f" · {campaign.source}" if campaign.source else ""))


for one in sorted(watch(st.session_state.folders, _needs), key=_urgency):
    with st.container(border=True):
        _show(one)

"""Can P(glass) be believed, and how sure is Δq? By what was measured of alloys that the model had not seen."""

import streamlit as st

from glassmap.dashboard.data import CampaignSnapshot, rule_of
from glassmap.dashboard.live import archive_now, chosen, map_now, plain
from glassmap.dashboard.plots.reliability import draw_coverage, draw_reliability
from glassmap.dashboard.reliability import evidence_of, say_kinds, table_of

NOTHING = (
    "There is nothing to judge by yet: the last map says nothing of how sure Δq is, or no alloy was held out or left "
    "out. The first needs ten measured spectra; an older map is made anew by `glassmap map {folder}`."
)


def _show(campaign: CampaignSnapshot) -> None:
    archive, map_ = archive_now(campaign), map_now(campaign)
    if campaign.q is None:
        st.info("g(r) has no Δq, so there is nothing to be sure of here.")
        return
    found = [] if archive is None else evidence_of(archive, rule_of(campaign, map_))
    if not found:
        st.info(NOTHING.format(folder=campaign.folder))
        return
    for one in found:
        first, *others = (plain(sentence) for sentence in one.say())
        st.markdown("  \n".join([f"**{first}**", *others]))
    left, right = st.columns(2)
    if any(one.of_glass is not None for one in found):
        left.markdown("**P(glass): said against measured**")
        left.plotly_chart(draw_reliability(found), width="stretch", key="reliability")
        left.caption(
            "Numbers beside the points: alloys. On the line, P(glass) is right; a bar that crosses it allows it."
        )
    right.markdown("**Δq: how often its interval holds what was measured**")
    right.plotly_chart(draw_coverage(found), width="stretch", key="coverage")
    right.caption("Alloys of a wafer err alike: by wafer it shows whether an interval holds on all or only on most.")
    st.caption(say_kinds(found))
    for one in found:
        if one.of_glass is not None:
            st.markdown(f"**{one.kind.capitalize()}**")
            st.dataframe(table_of(one.of_glass), hide_index=True, key=f"classes {one.kind}")


_show(chosen(lambda campaign: (campaign.map, campaign.archive)))

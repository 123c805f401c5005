"""Several campaigns of one system on one learning curve: planned against random, presets, seeds."""

import numpy as np
import pandas as pd
import streamlit as st

from glassmap.dashboard.data import CampaignSnapshot
from glassmap.dashboard.learning import against_of
from glassmap.dashboard.live import choose_against, name_of, plain, watch, words_of
from glassmap.dashboard.plots.curves import compare_learning_curves


def _is_judged_alike(one: CampaignSnapshot, other: CampaignSnapshot) -> bool:
    """Whether two campaigns have the same system, axis, scale and kind of hold-out."""
    same = (one.elements, one.axis_name, one.settings.judged_by, one.settings.scale) == (
        other.elements,
        other.axis_name,
        other.settings.judged_by,
        other.settings.scale,
    )
    return same and np.array_equal(one.axis, other.axis)


def _system(campaign: CampaignSnapshot) -> str:
    return "–".join(campaign.elements)


campaigns = {
    name_of(one.folder, st.session_state.folders): one
    for one in watch(st.session_state.folders, lambda campaign: len(campaign.curve))
    if isinstance(one, CampaignSnapshot) and one.curve
}
if not campaigns:
    st.info("No campaign here has a learning curve yet.")
    st.stop()
asked = st.query_params.get("campaign", st.session_state.get("campaign"))
looked_at = campaigns.get(str(asked), next(iter(campaigns.values())))
systems = sorted({_system(one) for one in campaigns.values()})
system = _system(looked_at)
if len(systems) > 1:
    system = st.selectbox("System", systems, index=systems.index(system), key="compared system")
    looked_at = next(one for one in (looked_at, *campaigns.values()) if _system(one) == system)
theirs = [name for name, one in campaigns.items() if _system(one) == system]
alike = [name for name in theirs if _is_judged_alike(campaigns[name], looked_at)]
names = st.multiselect("Campaigns", theirs, default=alike[:8], key=f"compared {system}")
log = st.toggle("log axes", value=True, key="compare log")
if names:
    curves = {name: campaigns[name].curve for name in names}
    against = choose_against(against_of([point for curve in curves.values() for point in curve]), key="compare against")
    figure = compare_learning_curves(curves, against=against, log=log)
    st.plotly_chart(figure, width="stretch", key="compared curves")
    st.caption(
        "Ensemble mean ± standard error on each campaign's own hold-out. Only campaigns that are judged by the same "
        "spectra can be told apart by it: the same data set, split, range and scale. The page begins with those that "
        f"are judged as {looked_at.name}."
    )
    rows = [
        {
            "campaign": name,
            "judged by": campaigns[name].settings.judged_by,
            "planned": campaigns[name].settings.method,
            "weights": campaigns[name].settings.weights,
            "rounds": len(campaigns[name].curve),
            "spectra": campaigns[name].curve[-1].spectra,
            "hold-out MSE": campaigns[name].curve[-1].hold_out["mse"].say(),
            "best": min(point.mse for point in campaigns[name].curve),
            "state": words_of(campaigns[name])[0],
        }
        for name in names
    ]
    formats = {"best": "%.3g"}
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="compared table",
        column_config={name: st.column_config.NumberColumn(format=style) for name, style in formats.items()},
    )
    st.markdown("\n".join(f"- {plain(name)}: {plain(campaigns[name].settings.model)}" for name in names))

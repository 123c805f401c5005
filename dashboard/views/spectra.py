"""Believe it or not: an alloy's generated spectrum against what was measured."""

import numpy as np
import streamlit as st

from glassmap.agent.data.composition import label, parse_composition
from glassmap.agent.errors import CompositionError
from glassmap.dashboard.alloy import show_alloy
from glassmap.dashboard.data import CampaignSnapshot, held_out_examples
from glassmap.dashboard.live import archive_now, chosen

COPPER = 1.5406  # Å, Kα1
WAYS = ("by name", "best", "median", "worst")


def _show(campaign: CampaignSnapshot) -> None:
    archive = archive_now(campaign)
    left, middle, right = st.columns([2, 2, 1])
    way = left.segmented_control("Alloy by name, or one held out", WAYS, default="by name", key="way") or "by name"
    clicked = st.session_state.get("alloy")
    composition = None
    if way == "by name":
        known = clicked is not None and len(clicked) == len(campaign.elements)
        text = middle.text_input(
            "Alloy in at.%",
            value=label(np.array(clicked), campaign.elements) if known else "",
            placeholder=f"such as {_example(campaign.elements)}",
        )
        if text:
            try:
                composition = parse_composition(text, campaign.elements)
            except CompositionError as error:
                st.error(str(error))
    elif archive is not None:
        row = held_out_examples(archive).get(way)
        if row is None:
            st.info("Nothing is held out yet.")
        else:
            composition, mse = archive.measured.compositions[row], archive.mse[row]
            middle.metric("MSE of its generated spectrum", f"{mse:.3g}")
    wavelength = None
    if campaign.q is not None and right.segmented_control("Axis", ["q", "2θ"], default="q", key="axis") == "2θ":
        wavelength = right.number_input(
            "wavelength (Å)", min_value=0.05, max_value=5.0, value=campaign.wavelength or COPPER, format="%.4f"
        )
    if composition is None:
        st.info("Type an alloy, click one on the map, or choose one of the hold-out.")
        return
    show_alloy(campaign, composition, key="spectra", wavelength=wavelength)


def _example(elements: tuple[str, ...]) -> str:
    return label(np.full(len(elements), 1 / len(elements)), elements)


_show(chosen(lambda campaign: (campaign.map, campaign.archive)))

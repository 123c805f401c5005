"""Believe it or not: an alloy's generated spectrum against what was measured."""

import numpy as np
import streamlit as st

from glassmap.agent.data.composition import label, parse_composition
from glassmap.agent.errors import CompositionError
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.dashboard.alloy import show_alloy
from glassmap.dashboard.data import CampaignSnapshot, held_out_examples, rule_of
from glassmap.dashboard.held_out import OLDER, held_out_pairs, say_coverage
from glassmap.dashboard.live import archive_now, chosen, map_now
from glassmap.dashboard.plots.parity import draw_parity

COPPER = 1.5406  # Å, Kα1
WAYS = ("by name", "best", "median", "worst")


def _show(campaign: CampaignSnapshot) -> None:
    archive = archive_now(campaign)
    examples = {} if archive is None else held_out_examples(archive)
    clicked = st.session_state.get("alloy")
    known = clicked is not None and len(clicked) == len(campaign.elements)
    left, middle, right = st.columns([2, 2, 1])
    default = "median" if examples and not known else "by name"
    way = left.segmented_control("Alloy by name, or one held out", WAYS, default=default, key="way") or "by name"
    composition = None
    if way == "by name":
        text = middle.text_input(
            "Alloy in at.%",
            value=label(np.array(clicked), campaign.elements) if known else _last(campaign, archive),
            placeholder=f"such as {_example(campaign.elements)}",
        )
        if text:
            try:
                composition = parse_composition(text, campaign.elements)
            except CompositionError as error:
                st.error(str(error))
    elif archive is not None:
        row = examples.get(way)
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
    else:
        show_alloy(campaign, composition, key="spectra", wavelength=wavelength)
    if archive is not None and (examples or archive.measured.left_out):
        _show_unseen(campaign, archive)


def _show_unseen(campaign: CampaignSnapshot, archive: SpectraArchive) -> None:
    """Show what all alloys say that were held out, or else left out: figures, and what the band holds."""
    kind = "held-out" if archive.measured.hold_out.any() else "left-out"
    st.markdown(f"**All {kind} alloys: generated against measured**")
    if coverage := say_coverage(archive):
        st.caption(coverage)
    if campaign.q is None:
        return
    if not archive.measured.generated:
        st.caption(OLDER)
        return
    if not (panels := held_out_pairs(archive)):
        st.caption(f"No {kind} alloy has a trustworthy first peak both as measured and as generated.")
        return
    rule = rule_of(campaign, map_now(campaign))
    for column, pairs in zip(st.columns(len(panels)), panels, strict=True):
        picture = draw_parity(pairs, elements=campaign.elements, rule=rule)
        column.plotly_chart(picture, width="stretch", key=f"parity {pairs.figure.name}")
        column.caption(pairs.say())


def _last(campaign: CampaignSnapshot, archive: SpectraArchive | None) -> str:
    """Return the alloy that was measured last, where none is held out to begin with; empty where none is known."""
    if archive is None or archive.measured.hold_out.any() or not len(archive.measured.ids):
        return ""
    return label(archive.measured.compositions[-1], campaign.elements)


def _example(elements: tuple[str, ...]) -> str:
    return label(np.full(len(elements), 1 / len(elements)), elements)


_show(chosen(lambda campaign: (campaign.map, campaign.archive, campaign.status.notes)))

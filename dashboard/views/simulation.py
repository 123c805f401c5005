"""Molecular dynamics: what runs, what it costs, what came out, and whether to trust it."""

import numpy as np
import pandas as pd
import streamlit as st

from glassmap.agent.data.composition import label
from glassmap.agent.peaks.figures import FIGURES
from glassmap.dashboard.data import CampaignSnapshot, read_simulated
from glassmap.dashboard.live import chosen
from glassmap.dashboard.plots.spectra import draw_structure
from glassmap.simulation.result import read_structure
from glassmap.simulation.structure import Q, curves_of

WARM = 0.1  # relative deviation of the temperature from the protocol's
PRESSED = 1e4  # bar; a glass relaxed at zero pressure is within it


def _flags(facts: dict, *, temperature: float) -> str:
    flags = []
    if facts.get("is_crystalline"):
        flags.append(f"crystallised ({facts['crystalline']:.0%} of atoms)")
    if abs(facts["temperature"] / temperature - 1) > WARM:
        flags.append(f"not equilibrated: {facts['temperature']:.0f} K")
    if abs(facts["pressure"]) > PRESSED:
        flags.append(f"not equilibrated: {facts['pressure'] / 1e4:+.1f} GPa")
    return ", ".join(flags)


def _show(campaign: CampaignSnapshot) -> None:
    temperature = campaign.settings.quench_temperature
    if temperature is None:
        st.info("This campaign doesn't simulate.")
        return
    simulated, failures = read_simulated(campaign.folder)
    if campaign.running:
        st.markdown("**Running**")
        for one, share in campaign.running:
            st.progress(share, f"{one.id} {label(np.array(one.composition), campaign.elements)}: {share:.0%}")
    rows = [
        {
            "sample": m.id,
            "alloy (at.%)": label(np.array(m.composition), campaign.elements),
            "flags": _flags(m.facts, temperature=temperature),
            "density (g/cm³)": m.facts["density"],
            **{figure.head: m.facts.get(figure.name) for figure in FIGURES},
            "crystalline": m.facts["crystalline"],
            "temperature (K)": m.facts["temperature"],
            "energy (eV/atom)": m.facts["energy"],
            "CPU (s)": m.facts["cpu_seconds"],
        }
        for m in simulated
    ]
    seconds = sum(m.facts["cpu_seconds"] for m in simulated)
    columns = st.columns(4)
    columns[0].metric("running", len(campaign.running))
    columns[1].metric("finished", len(simulated))
    columns[2].metric("flagged", sum(bool(row["flags"]) for row in rows))
    columns[3].metric("CPU time", f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.0f} s")
    if any(m.facts.get("synthetic") for m in simulated):
        st.warning("The potential's alloys come from a mixing rule: synthetic.")
    if failures:
        st.markdown("**Failed**")
        failed = [{"sample": id_, "reason": reason} for id_, reason in failures.items()]
        st.dataframe(pd.DataFrame(failed), hide_index=True, key="failed")
    if not rows:
        st.info("No simulation has finished yet.")
        return
    event = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="simulated",
        height=280,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            name: st.column_config.NumberColumn(format=style)
            for name, style in {
                "density (g/cm³)": "%.3f",
                **{figure.head: f"%.{figure.digits}f" for figure in FIGURES},
                "crystalline": "%.3f",
                "temperature (K)": "%.0f",
                "energy (eV/atom)": "%.3f",
                "CPU (s)": "%.0f",
            }.items()
        },
    )
    selected = event["selection"]["rows"]
    shown = simulated[selected[0] if selected else -1]
    path = campaign.folder / "simulations" / f"{shown.facts.get('key')}.npz"
    name = label(np.array(shown.composition), campaign.elements)
    st.markdown(f"**{shown.id} {name}**" + ("" if selected else ", the last one; choose another in the table"))
    if not path.exists():
        st.info("Its g(r) and S(q) are no longer in the campaign's folder `simulations`.")
        return
    structure = read_structure(path)
    r, rdfs, factors = curves_of(structure)
    st.plotly_chart(draw_structure(r, rdfs, Q, factors), width="stretch", key="structure")


_show(chosen(lambda campaign: (campaign.running, campaign.status.spectra, campaign.n_failed)))

"""What `glassmap demo` runs."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from glassmap.agent.config.campaign import CampaignConfig

BUNDLED = Path(str(files("glassmap.simulation").joinpath("zr-cu-al.nc")))
"""Simulated Zr-Cu-Al glasses; the file says how they were made."""
BUNDLED_SETTINGS: dict[str, Any] = {"where": "not replicate", "batch": 15, "steps": 800, "stop_on": "delta_q"}
"""The demo replays each alloy once, trains briefly, as these spectra are smooth, and ends once Δq has settled."""


def live_config(name: str) -> CampaignConfig:
    """Three rounds of four alloys of Zr-Cu-Al, simulated on the spot; some minutes on two cores."""
    return CampaignConfig.of(
        {
            "name": name,
            "space": {"elements": ["Zr", "Cu", "Al"], "step_at_pct": 5},
            "backend": {"kind": "simulation", "potential": "zhou-fitted", "protocol": {"atoms": 500}},
            "planning": {"batch": 4, "hold_out_share": 0.25},
            "model": {"members": 3, "steps": 300},
            "stop": {"max_rounds": 3},
        },
        source="the demo",
    )

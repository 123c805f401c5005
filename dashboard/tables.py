"""A campaign's tables as a report has them, whatever it is written as."""

import math
from collections.abc import Sequence

import pandas as pd

from glassmap.agent.models.description import AS_PUBLISHED
from glassmap.agent.outside_text import visible
from glassmap.agent.store.connection import DRIVER
from glassmap.agent.store.notes import NOTED
from glassmap.agent.store.records import LogLine
from glassmap.dashboard.data import CampaignSnapshot
from glassmap.dashboard.learning import UNKNOWN, measures_of


def facts_of(campaign: CampaignSnapshot) -> pd.DataFrame:
    """Return what was done, by whom and with what: a name and a text a row."""
    settings, stop, used, status = campaign.settings, campaign.settings.stop, campaign.used, campaign.status
    rows = {
        "system": f"{'–'.join(campaign.elements)}, grid of {settings.step_at_pct} at.%",
        **({"held at": f"{settings.held}: so are plans and maps. {status.unlearned}".strip()} if settings.held else {}),
        **({"planned next": campaign.planned_elsewhere} if campaign.planned_elsewhere else {}),
        "measured by": campaign.source or settings.backend,
        "batches": f"{settings.batch} alloys, {settings.method}, weights {settings.weights}",
        "model": settings.model if status.ensemble is None else f"{status.ensemble.sentence} {AS_PUBLISHED}",
        "stop rule": f"once {stop.words}; at most {stop.max_rounds} rounds",
        "used": f"{used.spectra} spectra in {used.rounds} round{'s' * (used.rounds != 1)}"
        + (f", {used.cpu_hours:.1f} CPU-hours of simulation" if used.cpu_hours else ""),
        **({"samples of one alloy": status.mixture} if status.mixture else {}),
        **({"first peaks": status.misplaced} if status.misplaced else {}),
    }
    if campaign.checkpoints:
        rows["last model"] = list(campaign.checkpoints.values())[-1].stem
    return pd.DataFrame(rows.items(), columns=["", " "])


def rounds_of(campaign: CampaignSnapshot) -> pd.DataFrame:
    """Return the rounds whose model was judged: errors ± standard error, and what was decided."""
    measures = measures_of(campaign.curve)
    rows = [
        {
            "round": point.round,
            "spectra": point.spectra,
            **{measure.label: measure.say(*point.hold_out.get(measure.name, UNKNOWN)) for measure in measures},
            "one sample": "–" if math.isnan(point.mse_sample) else f"{point.mse_sample:.3g}",
            "decision": campaign.decisions[point.round].reason if point.round in campaign.decisions else "",
        }
        for point in campaign.curve
    ]
    return pd.DataFrame(rows)


def notes_of(campaign: CampaignSnapshot) -> pd.DataFrame:
    """Return what people noted."""
    noted = [(one.time[:16].replace("T", " "), one.person, one.about, one.text) for one in campaign.status.notes]
    return pd.DataFrame(noted, columns=["time (UTC)", "who", "on", "note"]).map(visible)


def people_of(log: Sequence[LogLine]) -> pd.DataFrame:
    """Return what people did, but for their notes."""
    decided = [line for line in log if line.person != DRIVER and line.event != NOTED]
    return pd.DataFrame(decided, columns=["time", "who", "what", "about", "detail"])

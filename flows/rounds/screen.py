"""Screen: flag measurements that lie far from what their neighbours and the last model let expect."""

import numpy as np

from glassmap.agent.data.composition import label
from glassmap.agent.data.outliers import nearest_rows, screen, witnesses
from glassmap.agent.data.spectrum import q_axis
from glassmap.dashboard.plots.for_print import draw_flagged, save
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.judge import context_of
from glassmap.flows.rounds.train import last_ensemble


def screen_new(campaign: OpenCampaign, round_: int) -> None:
    """Record which of the measurements that nobody has looked at are outliers, and why, with a picture of each."""
    store, at = campaign.store, campaign.at(round_)
    q = q_axis(*store.axis())
    used = [m for m in store.measurements() if m.state == "used" and m.round >= at.since]
    new = np.array([not m.screened for m in used], dtype=bool)
    if q is None or not at.backend.needs_screening or not new.any():
        return  # g(r) and what was simulated have neither substrate nor saturation
    compositions = np.array([m.composition for m in used])
    rows = witnesses(compositions, new)
    used, new, compositions = [used[row] for row in rows], new[rows], compositions[rows]
    spectra = store.spectra_of([m.id for m in used])
    reasons = screen(
        q,
        compositions,
        spectra,
        counts=np.array([m.facts.get("counts", np.nan) for m in used]),
        new=new,
        expected=last_ensemble(campaign, round_)
        .predict(compositions, context=context_of(campaign, [m.id for m in used]) or None)
        .mean
        if at.has_model
        else None,
    )
    flagged = {row: reason for row, reason in enumerate(reasons) if reason}
    for row, reason in flagged.items():
        picture = draw_flagged(
            q,
            spectra[row],
            spectra[nearest_rows(compositions, row)],
            title=f"{used[row].id}, {label(compositions[row], campaign.config.space.elements)}: {reason}",
        )
        save(picture, store.folder / "pictures" / f"flagged-{used[row].id}.png")
    with store.transaction():
        store.record_screening([m.id for m, is_new in zip(used, new, strict=True) if is_new])
        for row, reason in flagged.items():
            now = store.measurement(used[row].id)
            if now is None or now.state != "used":
                continue  # a person was faster
            store.set_measurement_state(now.id, "flagged" if at.backend.holds_flagged else "used", reason)
            store.log("flagged", reason, subject=now.id)

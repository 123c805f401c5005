"""What a campaign calls a glass: the rule of its file, or the one that its labels make with what is known of Δq."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from glassmap.agent.data.glass_labels import GlassLabels, read_labels
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.maps.calibration import NoRule, learn_rule
from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.peak_map import map_block
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Mask, PerSample
from glassmap.flows.backends.lab.matching import plain
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.train import spectra_of, spectra_to_judge

AS_MEASURED = 0.005  # atomic fractions apart, up to which what was measured of one alloy counts for another


def glass_rule(campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble) -> GlassRule:
    """Return by what a round's map tells glasses.

    Raises:
        DatasetError: If the table of labels can't be read, or contradicts itself.
        CompositionError: If an alloy in it can't be read.
    """
    settings = campaign.config.glass
    if settings.labels is None:
        return settings.rule
    labels = read_labels(settings.labels, campaign.config.space.elements)
    delta_q, std, is_measured = _widths(campaign, round_, ensemble, labels)
    known = ~np.isnan(delta_q)
    try:
        rule = learn_rule(delta_q[known], std[known], labels.is_glass[known], settings.calibration)
    except NoRule as why:
        return replace(settings.rule, note=f"not learnt from the labels, {why}")
    measured, n = int((known & is_measured).sum()), int(known.sum())
    without = len(known) - n + labels.others
    note = f"learnt from {n} labels, the Δq of {measured} measured and of {n - measured} generated"
    return replace(rule, note=f"{note}; {without} more have none here" if without else note)


def _widths(
    campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble, labels: GlassLabels
) -> tuple[PerSample, PerSample, Mask]:
    """Return the Δq of what is labelled, how uncertain it is, and whether it was measured; NaN where none is known.

    Measured is the sample of that name, or any within `AS_MEASURED` of the alloy; otherwise the model says it.
    """
    store = campaign.store
    q = q_axis(*store.axis())
    assert q is not None, "only in q there are maps"
    parts = spectra_of(campaign, ensemble.record["training_ids"]), spectra_to_judge(campaign, round_)
    ids = [id_ for part in parts for id_ in part.ids]
    alloys = np.concatenate([part.compositions for part in parts])
    spectra = torch.from_numpy(np.concatenate([part.spectra for part in parts]))
    widths = measure_peaks(q, spectra).figures[DELTA_Q.name].numpy().astype(np.float64)
    rows = {id_: row for row, id_ in enumerate(ids)}
    for one in store.measurements():
        if one.id in rows:
            is_alone = "scan" not in one.facts  # else the name of the file is that of several
            called = (one.facts.get("sample"), Path(str(one.facts.get("file", ""))).name if is_alone else "")
            for name in filter(None, called):
                rows.setdefault(plain(name), rows[one.id])
    compositions = labels.compositions.copy()
    delta_q, std = np.full(len(compositions), np.nan), np.zeros(len(compositions))
    is_measured = np.zeros(len(compositions), dtype=bool)
    for row, sample in enumerate(map(plain, labels.samples)):
        if sample in rows:
            near = np.array([rows[sample]])
        else:
            if sample and np.isnan(compositions[row]).any() and (found := store.samples(sample)):
                compositions[row] = found[0].composition
            near = np.flatnonzero(np.linalg.norm(alloys - compositions[row], axis=1) <= AS_MEASURED)
        if np.isfinite(widths[near]).any():
            delta_q[row], is_measured[row] = np.nanmean(widths[near]), True
    asked = np.flatnonzero(~is_measured & np.isfinite(compositions).all(1))
    if len(asked):
        said = map_block(ensemble.forecasting(q), compositions[asked], q=q)
        delta_q[asked] = said[DELTA_Q.name]
        std[asked] = np.nan_to_num(said[DELTA_Q.predictive_std_name])
    return delta_q, std, is_measured

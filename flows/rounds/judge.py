"""Judge: what each round's model errs on every spectrum that it never saw, so that all are marked by the same ones.

Those held out grow with the rounds of a laboratory, and some are retracted: models of earlier rounds are read from
their checkpoints and marked on what has come since. The spectra learned from are marked as a model says them that left
them out, while the one that has just learned is at hand.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.context import Columns, columns_of, rows_of
from glassmap.agent.data.spectrum import mean_squared_error, q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.peaks.batched import errors_by_spectrum
from glassmap.agent.peaks.measures import MSE
from glassmap.agent.planning.convergence import CurvePoint, Estimate, estimate
from glassmap.agent.shapes import Axis, Compositions, PerSample, Spectra
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import JudgedSpectra
from glassmap.agent.store.results import SAMPLE, groups_of
from glassmap.flows.backends.protocol import CONTEXT
from glassmap.flows.rounds.campaign import OpenCampaign

UNKNOWN = Estimate(math.nan, math.nan)


class SomeSpectra(NamedTuple):
    """Spectra to learn from, or to be judged by."""

    ids: list[str]  # of measurements; `held out 1` and so on of a backend's own test set
    compositions: Compositions  # atomic fraction
    spectra: Spectra
    wafers: list[str]  # that each lies on, empty where that isn't known
    context: Mapping[str, np.ndarray] = {}  # process variables of each; empty where the campaign has none


class Judgement(NamedTuple):
    """What is to be recorded of a round's model, and of the earlier ones that were marked on something new."""

    point: CurvePoint
    since: int  # the first round that is judged by the same spectra
    held_out: dict[int, JudgedSpectra]  # by round
    left_out: JudgedSpectra | None  # None where the model left nothing out

    def record(self, store: CampaignStore) -> None:
        """Record all of it; call within a transaction."""
        store.record_curve_point(self.point)
        for round_, judged in self.held_out.items():  # nothing, where nothing is held out
            store.record_judged(round_, "held out", judged, since=self.since)
        if self.left_out is not None:
            store.record_judged(self.point.round, "left out", self.left_out, since=self.since)


def judge(
    campaign: OpenCampaign,
    round_: int,
    ensemble: TrainedEnsemble,
    *,
    learned: SomeSpectra,
    held: SomeSpectra,
    earlier: Callable[[int], TrainedEnsemble],
) -> Judgement:
    """Mark a round's model by the spectra held out, and the earlier ones by those that they weren't marked by yet.

    Args:
        campaign: Open.
        round_: Of the model.
        ensemble: That has just learned.
        learned: From these.
        held: Of these none has learned.
        earlier: Reads the model of an earlier round.
    """
    store, since = campaign.store, campaign.at(round_).since
    q = q_axis(*store.axis())
    held_out = mark_until(campaign, round_ - 1, since=since, held=held, models=earlier)
    left_out = _mark_left_out(ensemble, learned, q)
    left = {} if left_out is None else _estimates(left_out)
    hold_out, judged_by = left or {MSE.name: UNKNOWN}, 0 if left_out is None else len(left_out.ids)
    if held.ids:
        held_out[round_] = _mark(ensemble, held, q)
        hold_out, judged_by = _estimates(held_out[round_]), len(held.ids)
    point = CurvePoint(
        round_,
        len(learned.ids),
        hold_out.pop(SAMPLE, UNKNOWN).value,
        _next_batch_mse(campaign, round_, earlier),
        judged_by,
        hold_out,
        left,
        bool(held.ids),
    )
    return Judgement(point, since, held_out, left_out)


def mark_until(
    campaign: OpenCampaign,
    last: int,
    *,
    since: int,
    held: SomeSpectra,
    models: Callable[[int], TrainedEnsemble],
) -> dict[int, JudgedSpectra]:
    """Return by round what models err on what is held out now, of those that weren't marked by exactly that.

    Args:
        campaign: Open.
        last: Of the rounds.
        since: The first of them.
        held: Of these none has learned.
        models: Reads the model of a round.
    """
    store, marked = campaign.store, dict[int, JudgedSpectra]()
    q, known = q_axis(*store.axis()), store.judged("held out", since=since)
    for round_ in range(since, last + 1):
        done = known.get(round_, JudgedSpectra((), (), {}))
        errors = done.of(held.ids)
        new = np.flatnonzero(np.isnan(errors.get(MSE.name, np.full(len(held.ids), np.nan)))).tolist()
        if new:
            learned = {*(store.training_ids(round_) or ())}
            new = [row for row in new if held.ids[row] not in learned]  # what it learned from judges nothing
        if not new and done.ids == tuple(held.ids):
            continue
        if new:
            with suppress(ModelError):  # it can't be read nor trained again, which was said
                found = _mark(models(round_), _rows_of(held, new), q).errors
                errors = {name: errors.get(name, np.full(len(held.ids), np.nan)) for name in found}
                for name, values in found.items():
                    errors[name][new] = values
        if errors:
            marked[round_] = JudgedSpectra(tuple(held.ids), tuple(held.wafers), errors)
    return marked


def _estimates(judged: JudgedSpectra) -> dict[str, Estimate]:
    """Return the mean errors by measure."""
    return {name: estimate(errors, groups_of(judged.wafers)) for name, errors in judged.errors.items()}


def _mark(ensemble: TrainedEnsemble, of: SomeSpectra, q: Axis | None) -> JudgedSpectra:
    """Return what a model errs on spectra that it never saw."""
    predicted = ensemble.predict(of.compositions, context=of.context or None)
    errors: dict[str, PerSample] = errors_by_spectrum(predicted.mean, of.spectra, q=q)
    errors[SAMPLE] = np.square(predicted.sample - of.spectra).mean(1)
    return JudgedSpectra(tuple(of.ids), tuple(of.wafers), errors)


def _mark_left_out(ensemble: TrainedEnsemble, learned: SomeSpectra, q: Axis | None) -> JudgedSpectra | None:
    """Return what a model that has just learned errs on what it learned from, where parts of it had left that out."""
    if (predicted := ensemble.stack.left_out) is None:
        return None
    told = _rows_of(learned, rows := np.flatnonzero(~np.isnan(predicted[:, 0])).tolist())
    errors = errors_by_spectrum(predicted[rows], told.spectra, q=q)
    return JudgedSpectra(tuple(told.ids), tuple(told.wafers), errors)


def _next_batch_mse(campaign: OpenCampaign, round_: int, earlier: Callable[[int], TrainedEnsemble]) -> float | None:
    """Return the error of the last round's model on this round's batch; None without either."""
    if not campaign.at(round_).has_model:
        return None
    ids, compositions, spectra = campaign.store.spectra(hold_out=False, round_=round_)
    if not ids:
        return None
    context = context_of(campaign, ids) or None
    return mean_squared_error(earlier(round_ - 1).predict(compositions, context=context).mean, spectra)


def context_of(campaign: OpenCampaign, ids: Sequence[str]) -> Columns:
    """Return the process variables of some measurements; empty where the campaign has none."""
    if not (held := campaign.config.space.held):
        return {}
    facts = campaign.store.facts()
    return columns_of([facts[id_][CONTEXT] for id_ in ids], held)


def _rows_of(some: SomeSpectra, rows: list[int]) -> SomeSpectra:
    ids, wafers = ([part[row] for row in rows] for part in (some.ids, some.wafers))
    return SomeSpectra(ids, some.compositions[rows], some.spectra[rows], wafers, rows_of(some.context, rows))

"""Enough: what the rest of each wafer would bring, reckoned anew after each measurement, without training."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.samples import Samples
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.outside_text import plain_name
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.enough import Rest, weigh_rest
from glassmap.agent.shapes import Mask, PerSample, Spectra
from glassmap.agent.store.records import MeasuredPoint, WaferGain
from glassmap.flows.rounds.campaign import OpenCampaign


def weigh_wafers(campaign: OpenCampaign) -> None:
    """Record what the rest of each wafer would bring on which something was measured, or changed, since it was said.

    Done as often as one likes: what is recorded tells what it was reckoned from. The log says once that it is enough.
    """
    store = campaign.store
    gone = store.given_up_wafers()
    measured = dict[str, list[MeasuredPoint]]()
    for one in store.measured_points():
        if plain_name(one.wafer) not in gone:
            measured.setdefault(plain_name(one.wafer), []).append(one)
    if not measured:
        return
    said = {plain_name(one.wafer): one for one in store.wafer_gains()}
    for name, mine in measured.items():
        points, before = store.points_of(mine[0].wafer), said.get(name)
        left = ~_which_are(points, mine)
        now = _unweighed(campaign, mine[0].wafer, len(left), int(np.count_nonzero(~left)))
        if not len(left) or (before is not None and now == _what_it_is_from(before)):
            continue
        if (rest := _weigh(campaign, mine, points, left)) is not None:
            now = now._replace(
                gain=rest.gain,
                farthest_at_pct=rest.farthest_at_pct,
                is_enough=rest.is_enough(now.worth),
                next=tuple(points.names[row] for row in rest.next),
            )
        with store.transaction():
            store.record_gain(now)
            if now.spares_some and not (before is not None and before.spares_some):
                store.log("enough", now.say())


def _unweighed(campaign: OpenCampaign, wafer: str, points: int, measured: int) -> WaferGain:
    """Return what there is to say of a wafer before its rest is weighed."""
    stop = campaign.config.stop
    return WaferGain(
        wafer,
        measured,
        points,
        gain=None,
        farthest_at_pct=None,
        worth=stop.least_gain,
        measure=stop.on,
        is_enough=False,
        model=campaign.store.n_rounds(),
        next=(),
    )


def _what_it_is_from(one: WaferGain) -> WaferGain:
    """Return what was recorded as it was before it was weighed."""
    return one._replace(gain=None, farthest_at_pct=None, is_enough=False, next=())


def _which_are(points: Samples, mine: Sequence[MeasuredPoint]) -> Mask:
    """Return which points are measured: by the sample's name, else the one nearest in composition."""
    rows = {plain_name(name): row for row, name in enumerate(points.names)}
    found = np.zeros(len(points), dtype=bool)
    unnamed: list[tuple[float, ...]] = []
    for one in mine:
        if (row := rows.get(plain_name(one.sample))) is None:
            unnamed.append(one.composition)
        else:
            found[row] = True
    for composition in unnamed:
        if len(free := np.flatnonzero(~found)):
            found[free[np.linalg.norm(points.compositions[free] - composition, axis=1).argmin()]] = True
    return found


def _weigh(campaign: OpenCampaign, mine: Sequence[MeasuredPoint], points: Samples, left: Mask) -> Rest | None:
    store, on = campaign.store, campaign.config.stop.on
    learned = [one for one in mine if one.is_learned]
    compositions = np.array([one.composition for one in learned]).reshape(-1, points.compositions.shape[1])
    measured: Spectra | PerSample = store.spectra_of([one.id for one in learned])
    mse, rule = store.hold_out_mse(), store.glass
    if on != "mse":
        measured = _widths(campaign, measured)
    return weigh_rest(
        on,
        compositions,
        measured,
        points.compositions,
        left,
        mse=None if mse is None or np.isnan(mse.value) else mse.value,
        threshold=(campaign.config.glass.rule if rule is None else rule[1]).threshold,
    )


def _widths(campaign: OpenCampaign, spectra: Spectra) -> PerSample:
    """Return the Δq of spectra, 1/Å; NaN of those without a first peak."""
    import torch  # a second or two, which who goes by the MSE needn't wait for

    from glassmap.agent.peaks.batched import measure_peaks

    q = q_axis(*campaign.store.axis())
    assert q is not None, "settings that go by Δq are of spectra in q"
    return measure_peaks(q, torch.from_numpy(spectra)).figures[DELTA_Q.name].numpy()

"""What a learning curve says besides its points: what to expect, what is worth it, and what others reached."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import MEASURES, MSE, Measure
from glassmap.agent.planning.convergence import AHEAD, TRENDS, CurvePoint, Estimate, Trend, forecast
from glassmap.dashboard.data import CampaignSnapshot

PAPER = "Xie et al. 2025"
UNKNOWN = Estimate(math.nan, math.nan)


class Against(NamedTuple):
    """What learning curves are drawn against."""

    name: str  # what is counted
    title: str  # of the axis
    of: Callable[[CurvePoint], float | None]  # None where a round doesn't know it


SPECTRA = Against("spectra", "spectra learned from", lambda point: point.spectra)
AGAINST = (
    SPECTRA,
    Against("wafers", "wafers measured", lambda point: point.effort and point.effort.wafers),
    Against("hours", "hours of wafers and spectra, by [cost]", lambda point: point.effort and point.effort.hours),
)


class Expected(NamedTuple):
    """What a measure is expected to be after more spectra."""

    spectra: int
    error: Estimate


class Published(NamedTuple):
    """What Xie et al., npj Comput. Mater. (2025) reached, and on which spectra: no MSE means much on others."""

    spectra: int  # learned from
    mse: float  # of one generated spectrum
    low: float  # where the axis begins, 1/Å
    high: float
    measured: int  # spectra of the set, held out ones included


PUBLISHED: dict[tuple[str, ...], Published] = {
    ("Co", "Ti", "Zr"): Published(50, 45.0, 0.903, 5.049, 1281),  # the cleaned set
    ("Co", "V", "Zr"): Published(80, 13.0, 0.902, 5.045, 2582),
    ("Fe", "Nb", "Ti"): Published(60, 60.0, 0.958, 5.049, 1306),
}
SCALES_OF_MAXIMA = ("maximum", "smoothed maximum")  # on these sets their MSE differ by 1 %
_SAME_Q = 0.002  # 1/Å


def published_for(campaign: CampaignSnapshot, archive: SpectraArchive | None) -> Published | None:
    """Return what is published for the campaign's own spectra, range and hold-out; None where any differs."""
    found = PUBLISHED.get(tuple(sorted(campaign.elements)))
    settings, q = campaign.settings, campaign.axis
    if found is None or archive is None or settings.hold_out != "random" or settings.scale not in SCALES_OF_MAXIMA:
        return None
    same_range = abs(q[0] - found.low) < _SAME_Q and abs(q[-1] - found.high) < _SAME_Q
    return found if same_range and len(archive.known.compositions) == found.measured else None


def measures_of(curve: Sequence[CurvePoint]) -> list[Measure]:
    """Return the measures that a curve has, in the order of `MEASURES`."""
    found = {name for point in curve for name, error in point.hold_out.items() if not math.isnan(error.value)}
    return [measure for measure in MEASURES if measure.name in found]


def against_of(curve: Sequence[CurvePoint]) -> list[Against]:
    """Return what a curve can be drawn against: spectra, and wafers and hours where every round knows its wafers."""
    return [one for one in AGAINST if all(one.of(point) is not None for point in curve)]


def expected_of(campaign: CampaignSnapshot, measure: Measure) -> list[Expected]:
    """Return what the next batches are expected to bring, or would if there were any; nothing before round three."""
    curve = [point for point in campaign.curve if point.round >= campaign.settings.first_own_round]
    curve = [point for point in curve if measure.name in point.hold_out]
    if not curve:
        return []
    spectra, errors = [point.spectra for point in curve], [point.hold_out[measure.name] for point in curve]
    batch = max(1, int(np.diff([0, *spectra])[-1]))  # of which a laboratory holds some out
    counts = [spectra[-1] + ahead * batch for ahead in range(1, AHEAD + 1)]
    found = [(count, forecast(spectra, errors, count, measure=measure.name)) for count in counts]
    return [Expected(count, error) for count, error in found if error is not None]


def say_expected(campaign: CampaignSnapshot, measure: Measure, expected: Sequence[Expected]) -> str:
    """Return what more spectra are expected to bring, such as `Another 20 spectra would bring the MSE to 9.1 ± 0.8`."""
    last = campaign.curve[-1]
    words = [
        f"another {_count(one.spectra - last.spectra)} would bring the {measure.label} to {measure.say(*one.error)}"
        for one in expected
    ]
    said = "; ".join(words)
    return f"{said[0].upper()}{said[1:]}; it is {measure.say(*last.hold_out[measure.name])} now."


def say_hold_out(curve: Sequence[CurvePoint]) -> str:
    """Return by what the rounds are judged."""
    judged = {point.judged_by for point in curve}
    if not all(point.has_hold_out for point in curve):
        return "Mean errors ± standard error on the spectra learned from, each as models say it that left it out."
    if 0 in judged:
        return "Errors on spectra that were never learned from, as an earlier version recorded them."
    same = "all rounds by the same" if len(judged) == 1 else "of which earlier rounds were judged by some"
    return f"Mean errors ± standard error on {max(judged)} spectra that were never learned from, {same}."


def worth_of(campaign: CampaignSnapshot, measure: Measure) -> float | None:
    """Return what two more batches must take off a measure, by the stop rule; None where it goes by another."""
    stop = campaign.settings.stop
    if (stop.on, measure.name) == ("delta_q", DELTA_Q.name):
        return stop.tolerance
    return stop.tolerance * campaign.curve[-1].mse if (stop.on, measure) == ("mse", MSE) else None


def say_trend(campaign: CampaignSnapshot) -> str:
    """Return in a word or two how the curve goes on, such as `not yet known`; empty before there is a trend.

    Where the map says nothing, neither does the curve: zeros are easily learned.
    """
    if campaign.status.failure:
        return ""
    said: list[Trend] = [decision.trend for _, decision in sorted(campaign.decisions.items()) if decision.trend]
    return TRENDS[said[-1]] if said else ""


def _count(spectra: int) -> str:
    return f"{spectra} {'spectrum' if spectra == 1 else 'spectra'}"

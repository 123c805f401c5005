"""Is the model getting better, how sure is that, what did it cost, and what would more batches bring?"""

import numpy as np
import streamlit as st

from glassmap.agent.errors import ModelError
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.models.baselines import ExtraTrees, PcaGp
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import FIRST_PEAK_MSE, MSE, SCALE_FREE_MSE, Measure
from glassmap.dashboard.data import CampaignSnapshot
from glassmap.dashboard.learning import (
    PAPER,
    Expected,
    against_of,
    expected_of,
    measures_of,
    published_for,
    say_expected,
    say_hold_out,
    say_trend,
    worth_of,
)
from glassmap.dashboard.live import archive_now, choose_against, chosen, plain
from glassmap.dashboard.plots.curves import draw_learning_curve

ABREAST = 3  # curves
MOST_COMPARED = 2000  # spectra; a Gaussian process takes the square of them in memory


@st.cache_data(max_entries=8, show_spinner="Fitting ExtraTrees and PCA + GP to the same spectra …")
def _simpler(path: str, round_: int, _archive: SpectraArchive) -> dict[str, float]:
    """Return the MSE of simpler models that learn from the same spectra, on the same hold-out."""
    measured, spectra = _archive.measured, _archive.measured_spectra()
    learned, held = ~measured.hold_out, measured.hold_out
    errors = {}
    for name, model in (("ExtraTrees", ExtraTrees()), ("PCA + GP", PcaGp())):
        trained = model.fit(measured.compositions[learned], spectra[learned], seed=0)
        predicted = trained.predict(measured.compositions[held]).mean
        errors[name] = float(np.mean((predicted - spectra[held]) ** 2))
    return errors


def _show(campaign: CampaignSnapshot) -> None:
    curve, stop = campaign.curve, campaign.settings.stop
    if not curve:
        st.info("There is no model yet. The first appears once the first batch is measured and learned from.")
        return
    measures = measures_of(curve)
    expected = {measure: expected_of(campaign, measure) for measure in measures}
    _show_last(campaign, expected)
    against = choose_against(against_of(curve), key="against")
    left, right = st.columns(2)
    log = left.toggle("log axes", key="log")
    archive = archive_now(campaign)
    is_compared = right.toggle(
        "simpler models on the same spectra",
        key="simpler",
        disabled=archive is None or len(archive.measured.ids) > MOST_COMPARED,
        help=f"Fitted here and now, so up to {MOST_COMPARED} spectra.",
    )
    if is_compared and campaign.settings.held:
        st.caption("The simpler models learn from composition alone; the campaign's model is told the process as well.")
    simpler = None
    if is_compared and archive is not None:
        try:
            simpler = _simpler(str(archive.path), archive.round, archive)
        except ModelError as error:
            st.warning(str(error))
    published = published_for(campaign, archive)
    figure = draw_learning_curve(
        curve,
        against=against,
        log=log,
        expected=expected.get(MSE, []),
        tolerance=worth_of(campaign, MSE),
        published=published and (f"{PAPER}, one generated spectrum", published.spectra, published.mse),
        simpler=simpler,
    )
    st.plotly_chart(figure, width="stretch", key="curve")
    st.caption(f"{say_hold_out(curve)} Stops once {stop.words}, or after {stop.max_rounds} rounds.")
    others = [measure for measure in measures if measure != MSE]
    for start in range(0, len(others), ABREAST):
        for column, measure in zip(st.columns(ABREAST), others[start : start + ABREAST], strict=False):
            figure = draw_learning_curve(
                curve,
                measure,
                against=against,
                log=log,
                expected=expected[measure],
                tolerance=worth_of(campaign, measure),
            )
            column.plotly_chart(figure, width="stretch", key=f"curve {measure.name}")
            if measure in (SCALE_FREE_MSE, FIRST_PEAK_MSE):
                column.caption(f"{measure.title[0].upper()}{measure.title[1:]}.")
    _show_cost(campaign)


def _show_last(campaign: CampaignSnapshot, expected: dict[Measure, list[Expected]]) -> None:
    """Show the last round's errors, how the curve goes on, and what to expect."""
    last, decided = campaign.curve[-1], campaign.decisions.get(campaign.curve[-1].round)
    shown = [measure for measure in expected if measure.name in (DELTA_Q.name, SCALE_FREE_MSE.name)]
    with st.container(horizontal=True, gap="large"):  # each as wide as it is, so that no figure is cut
        st.metric("hold-out MSE, ensemble", last.hold_out[MSE.name].say(), width="content")
        for measure in shown:
            error = measure.say(*last.hold_out[measure.name])
            st.metric(measure.label, error, help=f"{measure.title}.", width="content")
        trend = say_trend(campaign) or "–"
        st.metric("the curve", trend, help="Nothing before the third round.", width="content")
    for measure in shown:
        if expected[measure]:
            st.caption(say_expected(campaign, measure, expected[measure]))
    if decided is not None and decided.trend == "rising":
        st.warning(plain(decided.reason))


def _show_cost(campaign: CampaignSnapshot) -> None:
    stop = campaign.settings.stop
    st.markdown("**Used so far**")
    names = ("rounds", "spectra", "hours since it began", "CPU-hours of simulation")
    limits = (stop.max_rounds, stop.max_spectra, stop.max_hours, stop.max_cpu_hours)
    shown = [one for one in zip(names, campaign.used, limits, strict=True) if one[1] or one[2] is not None]
    for column, (name, value, limit) in zip(st.columns(4), shown, strict=False):
        words = str(value) if isinstance(value, int) else f"{value:.2f}"
        column.metric(name, words + (f" of {limit:g}" if limit is not None else ""))


_show(chosen(lambda campaign: (campaign.decisions, campaign.status.spectra, campaign.state, campaign.archive)))

"""Is the model getting better, what did it cost, and what would another batch bring?"""

import numpy as np
import streamlit as st

from glassmap.agent.errors import ModelError
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.models.baselines import ExtraTrees, PcaGp
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.convergence import expect
from glassmap.dashboard.data import CampaignSnapshot
from glassmap.dashboard.live import archive_now, chosen
from glassmap.dashboard.plots.curves import draw_learning_curves, draw_peak_errors

# Xie et al., npj Comput. Mater. (2025): spectra learned from and MSE, by elements and kind of axis
PUBLISHED: dict[tuple[tuple[str, ...], bool], tuple[int, float]] = {
    (("Co", "Ti", "Zr"), True): (50, 45.0),
    (("Co", "V", "Zr"), True): (80, 13.0),
    (("Fe", "Nb", "Ti"), True): (60, 60.0),
    (("Al", "Cu", "Zr"), False): (40, 0.0006),
}
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
    last, batch = curve[-1], campaign.settings.batch
    forecast = expect(curve, last.spectra + batch)
    columns = st.columns(4)
    columns[0].metric("hold-out MSE, ensemble", f"{last.mse:.3g}")
    columns[1].metric("one generated spectrum", f"{last.mse_sample:.3g}", help="As the paper judges it.")
    error = last.peak_errors.get(DELTA_Q.name)
    columns[2].metric(f"error of {DELTA_Q.head}", "–" if error is None else f"{error:.{DELTA_Q.digits + 1}f}")
    columns[3].metric(
        f"expected of {batch} more",
        "–" if forecast is None else _change(forecast.mse / last.mse - 1),
        help="Change of the MSE by the power law through the last five rounds; nothing before the third.",
    )
    left, right = st.columns(2)
    log = left.toggle("log axes", key="log")
    archive = archive_now(campaign)
    is_compared = right.toggle(
        "simpler models on the same spectra",
        key="simpler",
        disabled=archive is None or len(archive.measured.ids) > MOST_COMPARED,
        help=f"Fitted here and now, so up to {MOST_COMPARED} spectra.",
    )
    simpler = None
    if is_compared and archive is not None:
        try:
            simpler = _simpler(str(archive.path), archive.round, archive)
        except ModelError as error:
            st.warning(str(error))
    published = PUBLISHED.get((tuple(sorted(campaign.elements)), campaign.q is not None))
    figure = draw_learning_curves(
        {campaign.name: curve},
        log=log,
        published={"Xie et al. 2025, one generated spectrum": published} if published else None,
        simpler=simpler,
        tolerance=stop.tolerance,
        expected=None if forecast is None or _has_stopped(campaign) else (last.spectra + batch, forecast),
    )
    st.plotly_chart(figure, width="stretch", key="curve")
    st.caption(
        f"Stops once {stop.words}, or after {stop.max_rounds} rounds. "
        "Errors are those on spectra that were never learned from."
    )
    if any(error is not None for error in last.peak_errors.values()):
        st.plotly_chart(draw_peak_errors(curve, log=log), width="stretch", key="peaks")
    st.markdown("**Used so far**")
    names = ("rounds", "spectra", "hours since it began", "CPU-hours of simulation")
    limits = (stop.max_rounds, stop.max_spectra, stop.max_hours, stop.max_cpu_hours)
    shown = [one for one in zip(names, campaign.used, limits, strict=True) if one[1] or one[2] is not None]
    for column, (name, value, limit) in zip(st.columns(4), shown, strict=False):
        words = str(value) if isinstance(value, int) else f"{value:.2f}"
        column.metric(name, words + (f" of {limit:g}" if limit is not None else ""))


def _change(share: float) -> str:
    """Return a relative change in words; what rounds to nothing has no sign."""
    return "± 0 %" if abs(share) < 0.005 else f"{100 * share:+.0f} %"


def _has_stopped(campaign: CampaignSnapshot) -> bool:
    return campaign.state in ("converged", "exhausted")


_show(chosen(lambda campaign: (len(campaign.curve), campaign.status.spectra, campaign.state, campaign.archive)))

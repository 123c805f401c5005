"""One alloy's spectra on a page: generated with its bands, measured if it was, beside its nearest neighbours."""

import shlex
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from glassmap.agent.data.composition import SAME_ALLOY, label
from glassmap.agent.data.spectrum import two_theta_from_q
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.glass import P_GLASS
from glassmap.agent.maps.knowledge import say_known
from glassmap.agent.maps.spectra_archive import READS_ALIKE_AT_PCT, ArchivedSpectrum, SpectraArchive
from glassmap.agent.peaks.figures import CRYSTALLINE_SHARE, DELTA_Q, FIGURES
from glassmap.agent.peaks.states import SAID, state_of
from glassmap.agent.shapes import Axis, Composition, Compositions, Spectrum
from glassmap.dashboard.data import CampaignSnapshot, Map, read_asking
from glassmap.dashboard.held_out import sure_to
from glassmap.dashboard.live import archive_now, map_now, plain, used_alloys_now
from glassmap.dashboard.notes import notes_on, show_notes
from glassmap.dashboard.plots.axis_titles import AXIS_TITLES
from glassmap.dashboard.plots.spectra import Band, Curve, draw_spectra, legend_of
from glassmap.dashboard.plots.style import BLUE, BLUE_VEIL, GREEN, GREY, LINES, ORANGE, ORANGE_VEIL, PALE_ORANGE
from glassmap.dashboard.plots.words import ALEATORIC, BAND, EPISTEMIC

NEIGHBOURS = 3
BEHIND = (
    "Of the mean spectrum. Behind ± of Δq and q₁ stands how far a new measurement may lie from it, a std "
    "learned from what was left out; of other figures and on older maps how far base models and members disagree."
)


def show_alloy(
    campaign: CampaignSnapshot, composition: Composition, *, key: str, wavelength: float | None = None
) -> None:
    """Show what is known of an alloy, and below its spectra; see `show_figures` and `show_spectra`."""
    show_figures(campaign, composition)
    show_spectra(campaign, composition, key=key, wavelength=wavelength)


def show_figures(campaign: CampaignSnapshot, composition: Composition) -> None:
    """Show the figures of an alloy, generated and measured, what was noted on it, and how it is measured next.

    Args:
        campaign: Whose model is asked.
        composition: Atomic fraction, shape (e,).
    """
    archive, map_ = archive_now(campaign), map_now(campaign)
    _show_mapped(label(composition, campaign.elements), composition, map_, campaign)
    own = [] if archive is None else _measured_at(archive, composition)
    if archive is not None and own:
        _show_measured(archive, own[0])
    ids = [archive.measured.ids[row] for row in own] if archive is not None else []
    show_notes(notes_on(campaign, composition, ids))
    if not own and (how := say_how_to_ask(campaign, composition)):
        st.caption(how)


def show_spectra(
    campaign: CampaignSnapshot, composition: Composition, *, key: str, wavelength: float | None = None
) -> None:
    """Show the spectra of an alloy beside those nearest to it that were learned from, over the width of the page.

    Args:
        campaign: Whose model is asked.
        composition: Atomic fraction, shape (e,).
        key: Of the page, so that two pages don't share their widgets.
        wavelength: Å; draw against 2θ of that instead of the campaign's axis.
    """
    name = label(composition, campaign.elements)
    archive = archive_now(campaign)
    if archive is None and campaign.archive is None:
        st.info(
            f"There are no spectra to look at yet: they are written with each map. `glassmap run {campaign.folder}` "
            f"makes the next; `glassmap generate {campaign.folder} {name}` generates this one now."
        )
    if archive is None:
        return
    row = archive.row_of(composition)
    if row is None:
        distance = 100 * np.linalg.norm(archive.generated - composition, axis=1)
        nearest = int(np.argmin(distance))
        st.info(
            f"Of this many alloys not every spectrum is kept. `glassmap generate {campaign.folder} {name}` generates "
            f"it; the nearest that is kept is {label(archive.generated[nearest], campaign.elements)}, "
            f"{distance[nearest]:.1f} at.% away."
        )
    x, title = _axis(campaign, wavelength)
    left, right = st.columns([3, 1])
    with right:
        has_fits = st.checkbox("fitted first peaks", value=True, key=f"{key} fits")
        has_draws = st.checkbox(ALEATORIC, key=f"{key} draws")
    try:
        view = None if row is None else archive.view(row)
        curves, bands, residual, table = _curves(
            campaign, archive, composition, view, has_fits=has_fits, has_draws=has_draws
        )
    except ModelError as error:  # harmed or replaced since the page was drawn
        st.warning(str(error))
        return
    picture = draw_spectra(title, x, curves, bands, residual=residual, has_legend=False)
    left.plotly_chart(picture, width="stretch", key=f"{key} spectra")
    right.html(legend_of(curves, bands))
    if nearer := _say_held_out(archive, composition):
        right.caption(nearer)
    right.download_button(
        "These curves as CSV",
        pd.DataFrame({title: x} | table).to_csv(index=False, float_format="%.4g"),
        f"{campaign.name}-{name}-round-{archive.round}.csv",
        "text/csv",
        key=f"{key} download",
    )


def _measured_at(archive: SpectraArchive, composition: Composition) -> list[int]:
    """Return the rows of what was measured of an alloy."""
    distances = 100 * np.linalg.norm(archive.measured.compositions - composition, axis=1)
    order = np.argsort(distances, kind="stable")
    return [int(row) for row in order if distances[row] < READS_ALIKE_AT_PCT]


def _show_mapped(name: str, composition: Composition, map_: Map | None, campaign: CampaignSnapshot) -> None:
    st.markdown(f"**{name}**")
    if map_ is None:
        return
    distance = 100 * np.abs(map_.compositions - composition).max(1)
    row = int(np.argmin(distance))
    if distance[row] > READS_ALIKE_AT_PCT:
        learned = used_alloys_now(campaign).learned
        if len(learned):
            nearest = 100 * np.linalg.norm(learned - composition, axis=1).min()
            st.caption(f"Not on the map's grid; {nearest:.1f} at.% from the nearest alloy learned from.")
        return
    found = {str(name): float(value) for name, value in map_.figures.iloc[row].items()}
    _show_peak(found)
    known = say_known(found["expected_error"], map_.known_below, found["distance"])
    if found["known"] == 0:
        st.warning(known, icon=":material/explore_off:")
    else:
        st.caption(known)


def _show_peak(found: dict[str, float]) -> None:
    """Show the figures of an alloy, a row of the map."""
    if np.isnan(found[DELTA_Q.name]):
        st.markdown("Its mean spectrum has no trustworthy first peak.")
        return
    known = [figure for figure in FIGURES if figure.name in found]
    words = [f"**{figure.label} {figure.say(found[figure.name], found[sure_to(figure, found)])}**" for figure in known]
    if not np.isnan(chance := found.get(P_GLASS, np.nan)):
        words.insert(0, f"**P(glass) {chance:.2f}**")
    if not np.isnan(found["distance"]):  # of the first maps
        words.append(f"{found['distance']:.1f} at.% from the nearest learned from")
    st.markdown(" · ".join(words), help=BEHIND)


def _show_measured(archive: SpectraArchive, row: int) -> None:
    """Show the figures of a measured alloy, beside those of the spectrum generated at the same place."""
    measured = archive.measured
    if not measured.generated:
        return
    figures = [figure for figure in FIGURES if figure.name in measured.figures and figure.name in measured.generated]
    kind = "held out" if measured.hold_out[row] else "learned from"
    rows = [["", "generated", f"measured ({kind})"], ["---"] * 3]
    for figure in figures:
        made, std = (measured.generated[name][row] for name in (figure.name, sure_to(figure, measured.generated)))
        rows.append([figure.label, figure.say(made, std), figure.say(measured.figures[figure.name][row])])
    if CRYSTALLINE_SHARE in figures:
        both = ({name: float(of[name][row]) for name in of} for of in (measured.generated, measured.figures))
        rows.append(["looks like", *(SAID[state_of(found)] for found in both)])
    st.markdown("\n".join(f"| {' | '.join(cells)} |" for cells in rows))


def say_how_to_ask(campaign: CampaignSnapshot, composition: Composition) -> str:
    """Return by which command an alloy, or the sample nearest to it, is measured next, as Markdown."""

    def is_among(compositions: Compositions) -> bool:
        return bool((np.linalg.norm(compositions - composition, axis=1) <= SAME_ALLOY).any())

    asking, folder, e = read_asking(campaign.folder), str(campaign.folder), len(campaign.elements)
    for one in asking.waiting:
        if is_among(np.array([one.composition])):
            back = request_command(folder, [one.sample or label(composition, campaign.elements)], wafer=one.wafer)
            return f"In the next batch, {plain(one.why)}; {back[:-1]} --withdraw` takes it back."
    if is_among(np.array([one.composition for one in campaign.awaited]).reshape(-1, e)):
        return "In the batch that is waited for."
    if is_among(used_alloys_now(campaign).compositions):
        return ""
    if not len(asking.free):
        return f"{request_command(folder, [label(composition, campaign.elements)])} has it measured next."
    away = 100 * np.linalg.norm(asking.free.compositions - composition, axis=1)
    row = int(away.argmin())
    name, wafer = asking.free.names[row], asking.free.wafers[row]
    where = f"{plain(name)}{f' of {plain(wafer)}' if wafer else ''}"
    alloy = label(asking.free.compositions[row], campaign.elements)
    command = request_command(folder, [name], wafer=wafer)
    return (
        f"Nearest that exists and nobody asked for: {where}, {alloy}, {away[row]:.1f} at.% away. {command} asks for it."
    )


def request_command(folder: str, names: Sequence[str], *, wafer: str = "") -> str:
    """Return the command that asks for alloys or samples, as code."""
    words = ["glassmap", "request", folder, *names, *(["--wafer", wafer] if wafer else [])]
    return f"`{shlex.join(words)}`"


def _axis(campaign: CampaignSnapshot, wavelength: float | None) -> tuple[Axis, str]:
    if wavelength is None or campaign.q is None:
        return campaign.axis, AXIS_TITLES[campaign.axis_name]
    reached = campaign.q * wavelength / (4 * np.pi) < 1
    two_theta = np.full(len(campaign.q), np.nan)
    two_theta[reached] = two_theta_from_q(campaign.q[reached], wavelength=wavelength)
    return two_theta, f"2θ (°), λ = {wavelength:g} Å"


def _curves(
    campaign: CampaignSnapshot,
    archive: SpectraArchive,
    composition: Composition,
    view: ArchivedSpectrum | None,
    *,
    has_fits: bool,
    has_draws: bool,
) -> tuple[list[Curve], list[Band], Spectrum | None, dict[str, Spectrum]]:
    """Return what is drawn of an alloy, what was measured minus generated, and all of it as columns.

    Args:
        campaign: Whose alloy it is.
        archive: Of its spectra.
        composition: Of the alloy.
        view: What is generated of it; None where that isn't kept.
        has_fits: Whether fitted first peaks are drawn.
        has_draws: Whether the spread of draws is.
    """
    curves: list[Curve] = []
    bands: list[Band] = []
    table: dict[str, Spectrum] = {}
    for place, (k, distance) in enumerate(_learned_near(archive, composition)):
        alloy = label(archive.measured.compositions[k], campaign.elements)
        name = f"{alloy}, learned from, {distance:.1f} at.% away"
        table[name] = archive.measured_spectrum(k).intensity
        curves.append(Curve(name, table[name], LINES[2 + place], 0.9))
    if view is not None:
        if np.isfinite(view.band).all():
            bands.append(Band(BAND, view.mean, view.band, PALE_ORANGE))
        bands.append(Band(EPISTEMIC, view.mean, view.epistemic_std, ORANGE_VEIL))
        if has_draws:
            bands.append(Band(ALEATORIC, view.mean, view.aleatoric_std, BLUE_VEIL))
        curves.append(Curve("generated, ensemble mean", view.mean, ORANGE, 1.8))
        if has_fits and np.isfinite(view.fit).any():
            curves.append(Curve("fitted first peak, generated", view.fit, BLUE, 2.4, "dot"))
        table |= {"generated": view.mean, "epistemic std": view.epistemic_std, "aleatoric std": view.aleatoric_std}
        table |= {"band": view.band, "fitted peak": view.fit}
    residual = None
    for k in _measured_at(archive, composition)[:1]:
        held = "held out" if archive.measured.hold_out[k] else "learned from"
        intensity, fit = archive.measured_spectrum(k)
        curves.append(Curve(f"measured ({held})", intensity, GREY, 1.4))
        if has_fits and np.isfinite(fit).any():
            curves.append(Curve("fitted first peak, measured", fit, GREEN, 2.0, "dot"))
        table["measured"] = intensity
        residual = None if view is None else intensity - view.mean
    return curves, bands, residual, table


def _learned_near(archive: SpectraArchive, composition: Composition) -> list[tuple[int, float]]:
    """Return the rows of the measured alloys beside one that the model learned from, the nearest first; and at.%."""
    distances = 100 * np.linalg.norm(archive.measured.compositions - composition, axis=1)
    beside = ~archive.measured.hold_out & (distances >= READS_ALIKE_AT_PCT)
    rows = np.flatnonzero(beside)[np.argsort(distances[beside], kind="stable")][:NEIGHBOURS]
    return [(int(row), float(distances[row])) for row in rows]


def _say_held_out(archive: SpectraArchive, composition: Composition) -> str:
    """Return how many held-out alloys lie as near as those learned from; empty where none does."""
    distances = 100 * np.linalg.norm(archive.measured.compositions - composition, axis=1)
    farthest = max((distance for _, distance in _learned_near(archive, composition)), default=0.0)
    beside = (distances >= READS_ALIKE_AT_PCT) & (distances <= farthest)
    n = int((archive.measured.hold_out & beside).sum())
    return f"As near, and never learned from: {n} held out." if n else ""

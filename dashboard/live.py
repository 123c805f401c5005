"""What the pages share: which campaign is looked at, what is read once and kept, and how a page stays up to date."""

import math
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from glassmap.agent.data.composition import label
from glassmap.agent.errors import GlassmapError
from glassmap.agent.maps.glass import LIKELY
from glassmap.agent.maps.regions import Candidates
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.maps.wish import Wish
from glassmap.agent.outside_text import visible
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.store.records import UsedAlloys
from glassmap.agent.store.status import STOPPED, state_in_words
from glassmap.dashboard.candidates import candidates_of
from glassmap.dashboard.data import (
    CampaignSnapshot,
    Map,
    Unreadable,
    marker,
    read_campaign,
    read_last_archive,
    read_last_map,
    read_used_alloys,
    read_wafers,
    read_wish_of,
)
from glassmap.dashboard.learning import Against
from glassmap.dashboard.plots.maps import TERNARY_HEIGHT
from glassmap.dashboard.wafers import WafersSeen, wafers_seen

Shown = TypeVar("Shown")
REFRESH = "2s"  # how often a page asks whether there is something new
LARGE_KEPT = 4  # campaigns whose map is kept in memory, and whose spectra, and whose measured alloys
STATES: dict[str, tuple[str, str, str]] = {  # in words, colour and icon
    "running": ("running", "green", ":material/play_arrow:"),
    "idle": ("nobody is at it", "gray", ":material/pause_circle:"),
    "waiting": ("waiting", "blue", ":material/hourglass_empty:"),
    "paused": ("paused", "gray", ":material/pause:"),
    "converged": ("converged", "green", ":material/check_circle:"),
    "exhausted": (state_in_words("exhausted"), "orange", ":material/stop_circle:"),
    "failed": ("failed", "red", ":material/error:"),
    "broken": ("can't be read", "red", ":material/broken_image:"),
    "new": ("not started", "gray", ":material/fiber_new:"),
}


class _Last(Generic[Shown]):
    """The last of what was read of one campaign, shared by all sessions: one of them reads, the others wait for it."""

    def __init__(self) -> None:
        self._lock, self._seen, self._shown = Lock(), None, None

    def get(self, look: Callable[[], Hashable], read: Callable[[], Shown]) -> Shown:
        """Return it as it is now.

        Args:
            look: Tells its versions apart. Asked by who reads, so that nobody reads again what came while waiting.
            read: Called only if the version has changed.
        """
        with self._lock:
            seen = look()
            if self._shown is None or self._seen != seen:
                self._shown = None  # let go first, so that there are never two
                self._shown, self._seen = read(), seen
            return self._shown


@st.cache_resource(show_spinner=False)  # small, so one for each campaign there is
def _campaigns(folder: Path) -> _Last[CampaignSnapshot | Unreadable]:
    return _Last()


@st.cache_resource(max_entries=LARGE_KEPT, show_spinner=False)
def _used_alloys(folder: Path) -> _Last[UsedAlloys]:
    return _Last()


@st.cache_resource(max_entries=LARGE_KEPT, show_spinner=False)
def _maps(folder: Path) -> _Last[Map | None]:
    return _Last()


@st.cache_resource(max_entries=LARGE_KEPT, show_spinner=False)
def _archives(folder: Path) -> _Last[SpectraArchive | None]:
    return _Last()


def campaign_now(folder: Path) -> CampaignSnapshot | Unreadable:
    """Return the campaign as it is now; it is read again only if something happened."""
    return _campaigns(folder).get(lambda: marker(folder), lambda: read_campaign(folder))


def used_alloys_now(campaign: CampaignSnapshot) -> UsedAlloys:
    """Return the measurements that are used now; they are read again only if something happened."""
    folder = campaign.folder
    return _used_alloys(folder).get(lambda: marker(folder), lambda: read_used_alloys(folder, check=False))


def map_now(campaign: CampaignSnapshot) -> Map | None:
    """Return its last map, read once; None where there is none, or it can't be read, which is said."""
    if campaign.map is None:
        return None
    return _or_warn(lambda: _maps(campaign.folder).get(lambda: campaign.map, lambda: read_last_map(campaign)))


def archive_now(campaign: CampaignSnapshot) -> SpectraArchive | None:
    """Return the spectra kept of its last map, read once; None without, or where they are harmed, which is said."""
    if campaign.archive is None:
        return None
    last = _archives(campaign.folder)
    return _or_warn(lambda: last.get(lambda: campaign.archive, lambda: read_last_archive(campaign)))


@st.cache_resource(max_entries=LARGE_KEPT, show_spinner=False)
def _wafers(folder: Path) -> _Last[WafersSeen]:
    return _Last()


def wafers_now(campaign: CampaignSnapshot) -> WafersSeen:
    """Return its wafers as they are now, and what they reach; they are read again only if something happened."""
    folder = campaign.folder
    return _wafers(folder).get(lambda: marker(folder), lambda: wafers_seen(read_wafers(folder)))


def _or_warn(read: Callable[[], Shown | None]) -> Shown | None:
    """Return what is read; None where it can't be, which is said."""
    try:
        return read()
    except GlassmapError as error:
        st.warning(str(error))
        return None


def look_at_campaign(folders: Sequence[Path]) -> Path:
    """Return the campaign that is looked at: the one in the address, the one chosen last, or the first begun."""
    names = {name_of(folder, folders): folder for folder in folders}
    asked = st.query_params.get("campaign", st.session_state.get("campaign"))
    if asked not in names:
        begun = (name for name, folder in names.items() if isinstance(campaign_now(folder), CampaignSnapshot))
        asked = next(begun, next(iter(names)))
    st.session_state.campaign, st.session_state.folder = asked, names[asked]
    return names[asked]


def choose_campaign(folders: Sequence[Path]) -> None:
    """Let a person say which campaign is looked at, and have the address say it."""
    look_at_campaign(folders)
    if len(folders) > 1:
        st.session_state.chosen = st.session_state.campaign
        names = [name_of(folder, folders) for folder in folders]
        st.selectbox("Campaign", names, label_visibility="collapsed", key="chosen", on_change=_choose)
    st.query_params["campaign"] = st.session_state.campaign


def _choose() -> None:
    """Have the address name the campaign that was chosen, before the page and its menu are drawn."""
    st.query_params["campaign"] = st.session_state.chosen


def name_of(folder: Path, folders: Sequence[Path]) -> str:
    """Return what a campaign is called: its folder, with the parent where two are called alike."""
    alike = [other for other in folders if other.name == folder.name]
    return visible(folder.name if len(alike) == 1 else f"{folder.parent.name}/{folder.name}")


def chosen(needs: Callable[[CampaignSnapshot], Hashable]) -> CampaignSnapshot:
    """Return the campaign that is looked at, and show a line on where it stands that is always up to date.

    Args:
        needs: What of a campaign the page shows; when that changes, the page is drawn again.
    """
    folder: Path = st.session_state.folder
    shown = campaign_now(folder)
    drawn = _drawn(shown, needs)

    @st.fragment(run_every=REFRESH)
    def look() -> None:
        now = campaign_now(folder)
        show_state(now)
        if _drawn(now, needs) != drawn:
            st.rerun()

    look()
    if isinstance(shown, Unreadable):
        st.stop()
    return shown


def watch(folders: list[Path], needs: Callable[[CampaignSnapshot], Hashable]) -> list[CampaignSnapshot | Unreadable]:
    """Return all campaigns as they are now; the page is drawn again when what it needs of one changes."""
    shown = [campaign_now(folder) for folder in folders]
    drawn = [_drawn(one, needs) for one in shown]

    @st.fragment(run_every=REFRESH)
    def look() -> None:
        if [_drawn(campaign_now(folder), needs) for folder in folders] != drawn:
            st.rerun()

    look()
    return shown


def _drawn(campaign: CampaignSnapshot | Unreadable, needs: Callable[[CampaignSnapshot], Hashable]) -> Hashable:
    """Return what of a campaign is on the page: all that a session keeps of it between two looks."""
    return campaign if isinstance(campaign, Unreadable) else needs(campaign)


def choose_against(offered: Sequence[Against], *, key: str) -> Against:
    """Let a person say what learning curves are drawn against, where there is more than one thing."""
    if len(offered) == 1:
        return offered[0]
    names = {one.name: one for one in offered}
    return names[st.segmented_control("Against", list(names), default=offered[0].name, key=key) or offered[0].name]


def show_state(campaign: CampaignSnapshot | Unreadable) -> None:
    """Show state, sentence and last activity in a line."""
    state = "" if isinstance(campaign, Unreadable) else f" · {'–'.join(campaign.elements)}"
    said = f"**{plain(campaign.name)}**{state} {badge_of(campaign)} {sentences_of(campaign)}"
    st.markdown("  \n".join(filter(None, [said, headline_of(campaign)])))
    if isinstance(campaign, CampaignSnapshot):
        facts = [f"last activity {ago(campaign.last_activity)}"]
        if campaign.source:
            facts.insert(0, plain(campaign.source))
        st.caption(" · ".join(facts))


def show_ternary(figure: go.Figure, *, key: str, height: str = TERNARY_HEIGHT, **options: Any) -> None:
    """Show a ternary or a disc, as high as the width of its place asks for: a phone has no room to give away.

    Args:
        figure: Of `draw_ternary`, or the like.
        key: Of the picture.
        height: Of CSS's, by the `width` of its place.
        options: What a click does, as of `st.plotly_chart`.
    """
    place = f"{key}-place"
    with st.container(key=f"{key}-width"), st.container(key=place):
        st.html(
            f"<style>.st-key-{key}-width {{ container-type: inline-size; }}"
            f".st-key-{place} {{ flex: none; height: {height.format(width='100cqw')}; }}</style>"
        )
        st.plotly_chart(figure, width="stretch", height="stretch", key=key, **options)


def words_of(campaign: CampaignSnapshot | Unreadable) -> tuple[str, str, str]:
    """Return the state in words, its colour and its icon; of a stopped campaign whose map says nothing, no success."""
    fails = isinstance(campaign, CampaignSnapshot) and campaign.status.state in STOPPED and campaign.status.failure
    return ("nothing can be said", "red", ":material/error:") if fails else STATES[campaign.state]


def badge_of(campaign: CampaignSnapshot | Unreadable) -> str:
    """Return the state as a mark of Markdown."""
    words, colour, icon = words_of(campaign)
    return f":{colour}-badge[{icon} {words}]"


def sentences_of(campaign: CampaignSnapshot | Unreadable) -> str:
    """Return where a campaign stands as Markdown, in red that its map says nothing; the headline stands by itself."""
    if isinstance(campaign, Unreadable):
        return plain(campaign.reason)
    failure, headline, reason = campaign.status.failure, campaign.status.headline, plain(campaign.status.reason)
    if failure:
        return f":red[{plain(failure)}]{reason.removeprefix(plain(failure))}"
    return reason.replace(f"{plain(headline)} ", "").replace(plain(headline), "").strip() if headline else reason


def headline_of(campaign: CampaignSnapshot | Unreadable) -> str:
    """Return how much of the last map is a glass as bold Markdown; empty where nothing can be said."""
    headline = "" if isinstance(campaign, Unreadable) else plain(campaign.status.headline)
    return f"**{headline}**" if headline else ""


def plain(text: str) -> str:
    """Escape what Markdown would take for marks in a text, but for code."""
    parts = text.split("`")
    for k in range(0, len(parts), 2):
        for mark in "\\*_[]$<>~#:":
            parts[k] = parts[k].replace(mark, f"\\{mark}")
    return "`".join(parts)


def wish_now(campaign: CampaignSnapshot) -> Wish:
    """Return what its campaign file wishes of candidates; nothing where that can't be read, which is said."""
    return _or_warn(lambda: read_wish_of(campaign.folder)) or Wish()


def candidates_now(campaign: CampaignSnapshot, wish: Wish, *, only_known: bool, level: float) -> Candidates | None:
    """Return where on its last map one would bet on a glass, found once; None without a map."""
    if campaign.map is None:
        return None
    return _found(campaign.map[1], campaign.archive, wish, only_known, level, campaign)


@st.cache_data(max_entries=16, show_spinner=False)
def _found(
    path: Path,
    archive: tuple[int, Path] | None,
    wish: Wish,
    only_known: bool,
    level: float,
    _campaign: CampaignSnapshot,
) -> Candidates | None:
    map_ = map_now(_campaign)
    if map_ is None:
        return None
    return candidates_of(_campaign, map_, archive_now(_campaign), wish=wish, only_known=only_known, level=level)


def best_place(campaign: CampaignSnapshot) -> str | None:
    """Return the first of its candidates in words; None without a map, or where no alloy of it is likely a glass."""
    found = candidates_now(campaign, wish_now(campaign), only_known=True, level=LIKELY)
    if found is None or not found.places:
        return None
    best = found.places[0]
    sure = "" if math.isnan(best.p_glass) else f", P(glass) {best.p_glass:.2f}"
    state = {"open": "nothing measured there"}.get(best.state, f"{best.measured} measured there")
    return f"{best.alloy}: {DELTA_Q.say(best.delta_q, best.delta_q_predictive_std)}{sure}, {state}"


def alloy_of(composition: tuple[float, ...], elements: tuple[str, ...]) -> str:
    """Return an alloy's label in at.%."""
    return label(np.array(composition), elements)


def ago(time: datetime) -> str:
    """Return how long ago something was, for a person."""
    seconds = (datetime.now(UTC) - time).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return "just now"

"""The dashboard's frame: who may look, which campaign, which page. Started by `glassmap dashboard`."""

import gc
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import streamlit as st

from glassmap.agent.errors import GlassmapError
from glassmap.agent.outside_text import visible
from glassmap.dashboard.data import CampaignSnapshot, find_campaigns
from glassmap.dashboard.live import campaign_now, choose_campaign, look_at_campaign, plain
from glassmap.dashboard.serve import FOLDERS

Has = Callable[[CampaignSnapshot], bool]
PAGES: dict[str, tuple[str, str, Has]] = {  # title, icon, and which campaigns have something to show on it
    "campaigns": ("Campaigns", ":material/home:", lambda one: True),
    "progress": ("Progress", ":material/trending_down:", lambda one: bool(one.curve)),
    "map": ("Map", ":material/change_history:", lambda one: one.map is not None),
    "wafers": ("Wafers", ":material/album:", lambda one: one.has_wafers),
    "reliability": ("Reliability", ":material/verified:", lambda one: one.says_how_sure),
    "spectra": ("Spectra", ":material/ssid_chart:", lambda one: one.archive is not None),
    "batch": ("Batch", ":material/science:", lambda one: one.round_at_work > 0),
    "files": ("Files", ":material/folder_open:", lambda one: one.has_files),
    "rounds": ("Rounds", ":material/history:", lambda one: True),
    "simulation": ("Simulation", ":material/memory:", lambda one: one.settings.quench_temperature is not None),
    "compare": ("Compare", ":material/stacked_line_chart:", lambda one: bool(one.curve)),
}
STYLE = """<style>
    .stMainBlockContainer { padding-top: 4.25rem; padding-bottom: 3rem; }  /* begins below the menu */
    [data-testid=stExpandSidebarButton] { width: auto; }
    [data-testid=stExpandSidebarButton]::after { content: "Menu"; font-size: 1rem; padding-right: 0.5rem; }
    [data-testid=stMarkdownContainer] table { display: block; overflow-x: auto; width: fit-content; max-width: 100%; }
    [data-testid=stMultiSelect] [data-tag] { background-color: #0072b2; }
    [data-testid=stCaptionContainer] code { color: inherit; opacity: 1; }
    [class*=st-key-small-map] { max-width: 200px; }
    @media (max-width: 640px) { [data-testid=stMetricValue] { font-size: 1.5rem; } }
</style>"""  # what no theme says: room above a page, a phone's menu, wide tables, contrast of chips and code
PROGRAMS = (  # what the pages import, and what takes long
    "glassmap.agent.models.baselines",
    "glassmap.dashboard.alloy",
    "glassmap.dashboard.plots.curves",
    "glassmap.dashboard.plots.maps",
    "glassmap.simulation.structure",
)


@st.cache_resource(show_spinner=False)
def _load_programs() -> None:
    """Import once what the pages need, and let garbage collection pass it over.

    Streamlit collects garbage after every look of every session; most of what it would look through are programs.
    """
    for name in PROGRAMS:
        import_module(name)
    gc.collect()
    gc.freeze()


def _sign_in() -> None:
    """Let nobody further without a login where one is configured (docs/dashboard.md)."""
    try:
        is_configured = "auth" in st.secrets
    except FileNotFoundError:  # no secrets at all
        return
    if is_configured and not st.user.get("is_logged_in", False):
        st.title("glassmap")
        st.button("Log in", on_click=st.login)
        st.stop()


def _filled(folders: Sequence[Path]) -> set[str]:
    """Return the pages that have something to show of the campaign that is looked at; others are reached by address."""
    campaigns = [one for one in map(campaign_now, folders) if isinstance(one, CampaignSnapshot)]
    if not campaigns:
        return {"campaigns"}
    looked_at = campaign_now(look_at_campaign(folders))
    filled = {"campaigns"}
    if isinstance(looked_at, CampaignSnapshot):
        filled |= {name for name, (_, _, has) in PAGES.items() if has(looked_at)}
    judged = [one.elements for one in campaigns if one.curve]
    return filled if len(set(judged)) < len(judged) else filled - {"compare"}  # some are of one system


def main() -> None:
    """Draw the page that was asked for."""
    st.set_page_config(page_title="glassmap", page_icon=Path(__file__).with_name("icon.png"), layout="wide")
    _sign_in()
    _load_programs()
    st.html(STYLE)
    paths = [Path(path) for path in os.environ[FOLDERS].split(os.pathsep)]
    folders = find_campaigns(paths)
    filled = _filled(folders)
    pages = {
        name: st.Page(
            f"views/{name}.py",
            title=title,
            icon=icon,
            default=name == "campaigns",
            visibility="visible" if name in filled else "hidden",
        )
        for name, (title, icon, _) in PAGES.items()
    }
    page = st.navigation(list(pages.values()), position="top")
    if not folders:
        st.info(f"There is no campaign in {', '.join(map(str, paths))} yet. `glassmap init` or `replay` makes one.")
        st.stop()
    st.session_state.folders, st.session_state.pages = folders, pages
    if page is not pages["campaigns"] and page is not pages["compare"]:
        choose_campaign(folders)
    try:
        page.run()
    except GlassmapError as error:  # what a page reads for itself may be damaged, too
        st.error(plain(visible(str(error))))


if __name__ == "__main__":
    main()

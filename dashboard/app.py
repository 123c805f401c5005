"""The dashboard's frame: who may look, which campaign, which page. Started by `glassmap dashboard`."""

import gc
import os
from importlib import import_module
from pathlib import Path

import streamlit as st

from glassmap.agent.errors import GlassmapError
from glassmap.agent.outside_text import visible
from glassmap.dashboard.data import find_campaigns
from glassmap.dashboard.live import choose_campaign, plain
from glassmap.dashboard.serve import FOLDERS

PAGES = {
    "campaigns": ("Campaigns", ":material/home:"),
    "progress": ("Progress", ":material/trending_down:"),
    "map": ("Map", ":material/change_history:"),
    "wafers": ("Wafers", ":material/album:"),
    "reliability": ("Reliability", ":material/verified:"),
    "spectra": ("Spectra", ":material/ssid_chart:"),
    "batch": ("Batch", ":material/science:"),
    "files": ("Files", ":material/folder_open:"),
    "rounds": ("Rounds", ":material/history:"),
    "simulation": ("Simulation", ":material/memory:"),
    "compare": ("Compare", ":material/stacked_line_chart:"),
}
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


def main() -> None:
    """Draw the page that was asked for."""
    st.set_page_config(page_title="glassmap", page_icon=Path(__file__).with_name("icon.png"), layout="wide")
    _sign_in()
    _load_programs()
    pages = {
        name: st.Page(f"views/{name}.py", title=title, icon=icon, default=name == "campaigns")
        for name, (title, icon) in PAGES.items()
    }
    page = st.navigation(list(pages.values()), position="top")
    paths = [Path(path) for path in os.environ[FOLDERS].split(os.pathsep)]
    folders = find_campaigns(paths)
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

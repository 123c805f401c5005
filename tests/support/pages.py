"""Pages of the dashboard as somebody would see them, without a browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from glassmap.dashboard.app import FOLDERS
from glassmap.dashboard.data import (
    CampaignSnapshot,
    read_campaign,
)

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


def look(monkeypatch: pytest.MonkeyPatch, folder: Path, page: str, campaign: str | None = None) -> AppTest:
    """A page as somebody would see it."""
    monkeypatch.setenv(FOLDERS, str(folder))
    test = AppTest.from_file(str(APP), default_timeout=60)
    if campaign is not None:
        test.query_params["campaign"] = campaign
    test.run()
    if page != "campaigns":
        test.switch_page(f"views/{page}.py").run()
    assert not test.exception, test.exception
    return test


def words(test: AppTest) -> str:
    """All that is written on a page."""
    kinds = (test.markdown, test.caption, test.info, test.warning, test.error)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def known(folder: Path) -> CampaignSnapshot:
    """A campaign that can be read."""
    campaign = read_campaign(folder)
    assert isinstance(campaign, CampaignSnapshot)
    return campaign

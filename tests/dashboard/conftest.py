"""Campaigns to look at: one in every state, made up, and one that was really run; and a server that shows them."""

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner

from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.browser import served
from tests.support.campaigns import write_campaign
from tests.support.made_up import make_campaign

QUATERNARY, QUINARY = ("Zr", "Cu", "Al", "Ti"), ("Zr", "Cu", "Al", "Ti", "Ni")


@pytest.fixture(scope="session", autouse=True)
def components_are_found_once() -> Iterator[None]:
    """Streamlit looks through every installed package for components whenever a test draws a page; here once."""
    found = manifest_scanner.scan_component_manifests()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", lambda: found)
        yield


@pytest.fixture(scope="session")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign in every state, made up but for one that was really run."""
    root = tmp_path_factory.mktemp("campaigns")
    small = partial(make_campaign, step_at_pct=5, rounds=3, batch=5)
    small(root / "converged")
    small(root / "waiting", end="waiting", on_wafers=True)
    small(root / "failed", end="failed")
    small(root / "quaternary", elements=QUATERNARY, on_wafers=True)
    small(root / "quinary", elements=QUINARY, step_at_pct=10)
    small(root / "a_rather-long*name of [many] rounds", rounds=30, batch=3, step_at_pct=2)
    (root / "broken").mkdir()
    (root / "broken" / "campaign.db").write_bytes(b"no database" * 100)
    (root / "new").mkdir()
    (root / "new" / "campaign.toml").write_text("")
    return root


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign that was really run, with a tiny network."""
    folder = tmp_path_factory.mktemp("replayed") / "small"
    write_campaign(folder, small_dataset, stop={"max_rounds": 2})
    with open_campaign(folder) as campaign:
        advance(campaign)
    return folder


@pytest.fixture(scope="session")
def server(campaigns: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard of all campaigns on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served([campaigns], home=tmp_path_factory.mktemp("server"), port=port) as (url, _):
        yield url

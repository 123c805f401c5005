"""The files that a campaign's store refers to."""

from pathlib import Path

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import copy_name


def kept_files(store: CampaignStore) -> list[Path]:
    """Return the campaign's own copies of the scans and tables that are used or wait, each once."""
    taken = (file for file in store.files() if file.state in ("used", "waiting"))
    return list(dict.fromkeys(store.folder / "scans" / copy_name(file.hash, file.path) for file in taken))

"""Leftovers: what a process wrote that was killed, or lost its power, before it had given the file its name."""

from itertools import product
from pathlib import Path

from glassmap.agent.atomic_file import PREFIX, sweep_partials, write_whole
from glassmap.agent.content_hash import hash_of, parts_of
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.recorded_files import kept_files

FOLDERS = ("checkpoints", "maps", "scans", "orders", "quarantine")  # of a campaign's files


def tidy(store: CampaignStore) -> None:
    """Put back what the records refer to and lies there under another name only; sweep the rest."""
    folders = [
        folder
        for folder in (store.folder, *(store.folder / name for name in FOLDERS))
        if next(folder.glob(f"{PREFIX}*"), None) is not None
    ]
    for path in (*store.artefact_files(), *kept_files(store)) if folders else ():
        if _put_back(path):
            with store.transaction():
                store.log("put back", f"{path.relative_to(store.folder)}, from what a power cut had left of it")
    for folder in folders:
        sweep_partials(folder)


def _put_back(path: Path) -> bool:
    """Copy leftovers to where a file or its halves are missing, if they are what its name is the hash of."""
    parts = parts_of(path)
    lost = [part for part in parts if not part.exists()]
    places = [[part] if part not in lost else list(path.parent.glob(f"{PREFIX}*{part.suffix}")) for part in parts]
    if not lost:
        return False
    found = next((files for files in product(*places) if path.stem.endswith(hash_of(*files))), None)
    for part, file in zip(parts, found or (), strict=False):
        if part != file:
            write_whole(part, file.read_bytes())
    return found is not None

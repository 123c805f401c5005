"""Backup: a campaign in one tar file, as it was at one moment, whoever is at work on it."""

import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from glassmap.agent.atomic_file import PREFIX, whole_file
from glassmap.agent.config.campaign import FILE_NAME as CAMPAIGN_FILE
from glassmap.agent.content_hash import parts_of
from glassmap.agent.errors import CampaignError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.schema import FILE_NAME as STORE
from glassmap.flows.rounds.orders import order_of
from glassmap.flows.rounds.recorded_files import kept_files

TRIES = 5  # a driver may take the archive of the round before away while it is packed


def back_up(folder: Path, output: Path) -> int:
    """Pack the store and every file that it refers to; unpacked it is a campaign's folder that goes on.

    Drop folders, pictures and reports aren't in it: what was taken in is, the rest is drawn again. Nor are copies of
    scans that are lost: nothing makes those again, and `verify` names them.

    Args:
        folder: The campaign's.
        output: The tar file, which must not be there yet.

    Returns:
        How many files it holds.

    Raises:
        CampaignError: If the file is there already, or a model, map or archive is missing.
        StoreError: If the store can't be read.
    """
    if output.exists():
        raise CampaignError(f"{output} is there already. Choose another name, or move it away.")
    for _ in range(TRIES - 1):
        try:
            return _pack(folder, output)
        except FileNotFoundError:  # a round may have ended in the meantime
            continue
    try:
        return _pack(folder, output)
    except FileNotFoundError as error:
        raise CampaignError(
            f"{error.filename} is missing, to which the campaign refers. `glassmap repair {folder}` makes it again or "
            "says that it is lost; then back up."
        ) from error


def _pack(folder: Path, output: Path) -> int:
    """Pack a snapshot of the store, then what that refers to.

    Raises:
        FileNotFoundError: If a file is gone.
    """
    name = folder.resolve().name
    with (
        whole_file(output) as partial,
        TemporaryDirectory(dir=partial.parent, prefix=PREFIX) as beside,
        CampaignStore.read_only(folder) as store,
    ):
        snapshot = Path(beside) / STORE
        store.copy_to(snapshot)
        with tarfile.open(partial, "w") as tar:
            tar.add(snapshot, f"{name}/{STORE}")
            snapshot.unlink()
            for file in _referred_to(store):
                with file.open("rb") as opened:  # which stays what it is where another takes its name
                    tar.addfile(tar.gettarinfo(arcname=f"{name}/{file.relative_to(folder)}", fileobj=opened), opened)
            for round_ in range(1, store.last_round() + 1):
                for file_name, text in order_of(store, round_).items():  # as they were at that moment
                    _add(tar, f"{name}/orders/{file_name}", text.encode())
            return len(tar.getmembers())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, BytesIO(content))


def _referred_to(store: CampaignStore) -> Iterator[Path]:
    """Yield every file that belongs to a campaign but store and orders."""
    if (settings := store.folder / CAMPAIGN_FILE).exists():
        yield settings
    yield from sorted({file for path in store.artefact_files() for file in parts_of(path)})
    yield from sorted(file for file in kept_files(store) if file.exists())
    for place in ("quarantine", "simulations"):
        whole = (path for path in (store.folder / place).glob("*") if path.is_file())
        yield from sorted(path for path in whole if not path.name.startswith(PREFIX))

"""Verify: whether everything that a campaign knows is as it was written; changes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from glassmap.agent.config.campaign import FILE_NAME as CAMPAIGN_FILE
from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.content_hash import harm_of
from glassmap.agent.errors import CampaignError, StoreError
from glassmap.agent.maps.spectra_archive import harm_of_archive
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.inspection import inspect
from glassmap.agent.store.schema import FILE_NAME as STORE
from glassmap.agent.store.trouble import COPY_NAME, refuse_missing
from glassmap.flows.rounds.orders import order_of
from glassmap.flows.rounds.recorded_files import kept_files

LOOKS = 3  # at what seems wrong: a driver may be at work on it
FOLDERS = {"checkpoint": "checkpoints", "map": "maps", "archive": "maps"}


class Checked(NamedTuple):
    """One kind of thing that a campaign consists of."""

    kind: str
    looked_at: int  # how many
    wrong: tuple[str, ...]  # what is wrong, a sentence each


def verify(folder: Path) -> list[Checked]:
    """Look at everything, and again at what seems wrong.

    Raises:
        StoreError: If no campaign was ever started there, or the store can't be looked at, whatever its state.
    """
    if not any((folder / name).exists() for name in (STORE, COPY_NAME, *FOLDERS.values())):
        refuse_missing(folder)
    found = _look(folder)
    for _ in range(LOOKS - 1):
        if not any(one.wrong for one in found):
            break
        seen = {said for one in found for said in one.wrong}
        found = [one._replace(wrong=tuple(said for said in one.wrong if said in seen)) for one in _look(folder)]
    return found


def _look(folder: Path) -> list[Checked]:
    store, spectra = _check_store(folder)
    checked = [store, spectra, _check_copy(folder)]
    try:
        with CampaignStore.read_only(folder) as opened:
            if opened.has_begun:
                return [*checked, *_check_files(opened)]
    except StoreError:
        pass
    return [*checked, *_check_names(folder)]


def _check_store(folder: Path) -> tuple[Checked, Checked]:
    if not (folder / STORE).exists():
        return Checked("store", 0, (f"{STORE} is missing.",)), Checked("spectra", 0, ())
    found = inspect(folder / STORE)
    of_spectra = [str(harm) for harm in found.harms if harm.table == "spectra"]
    others = [str(harm) for harm in found.harms if harm.table != "spectra"]
    return Checked("store", found.rows, tuple(others)), Checked("spectra", found.spectra, tuple(of_spectra))


def _check_copy(folder: Path) -> Checked:
    if not (folder / COPY_NAME).exists():
        return Checked("copy of the store", 0, ())
    found = inspect(folder / COPY_NAME)
    return Checked("copy of the store", found.rows, tuple(map(str, found.harms)))


def _check_files(store: CampaignStore) -> Iterator[Checked]:
    """Check the files that the store refers to."""
    yield _check_settings(store)
    yield _check("scans", kept_files(store), harm_of)
    for kind in FOLDERS:
        harm = harm_of_archive if kind == "archive" else harm_of
        kinds = store.kinds_of_maps() if kind == "map" else [kind]  # of several process variables there are several
        yield _check(f"{kind}s", [file for each in kinds for file in store.artefacts(each).values()], harm)
    yield _check_orders(store)


def _check(kind: str, files: list[Path], harm_in: Callable[[Path], str | None]) -> Checked:
    harms = ((file, harm_in(file)) for file in files)
    return Checked(kind, len(files), tuple(f"{file.name} {harm}." for file, harm in harms if harm is not None))


def _check_settings(store: CampaignStore) -> Checked:
    try:
        config = CampaignConfig.from_toml(store.folder / CAMPAIGN_FILE)
        config.continuing(store.config, given=store.given_settings).check_continues(store.config, folder=store.folder)
    except CampaignError as error:
        return Checked(CAMPAIGN_FILE, 1, (str(error),))
    return Checked(CAMPAIGN_FILE, 1, ())


def _check_orders(store: CampaignStore) -> Checked:
    """Hold order files against the store, but for those that are about to be written."""
    due, looked_at, wrong = store.orders_to_write, 0, list[str]()
    for round_ in range(1, len(store.coverage()) + 1):
        for name, text in order_of(store, round_).items() if round_ not in due else ():
            looked_at += 1
            file = store.folder / "orders" / name
            if not file.is_file():
                wrong.append(f"{name} is missing.")
            elif file.read_bytes() != text.encode():
                wrong.append(f"{name} doesn't say what the store says.")
    return Checked("orders", looked_at, tuple(wrong))


def _check_names(folder: Path) -> Iterator[Checked]:
    """Hold files against the hash in their names, where the store can't say which there are."""
    for place, endings in (("scans", ("*",)), ("checkpoints", ("*.json",)), ("maps", ("*.parquet", "*.h5"))):
        files = sorted(path for ending in endings for path in (folder / place).glob(ending) if path.name[0] != ".")
        yield _check(place, files, harm_of)

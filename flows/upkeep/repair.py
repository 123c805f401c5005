"""Repair: what can be had again of a damaged campaign, from the store's rows, its copy, and who measured.

The damaged store is kept beside the new one, and whatever is killed is taken up again. What is lost is said row by row.
"""

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from filecmp import cmp
from functools import cache
from pathlib import Path
from shutil import copyfile
from typing import NamedTuple

import numpy as np

from glassmap.agent.atomic_file import sync, whole_file, write_whole
from glassmap.agent.config.backends import kind_of, settings_of
from glassmap.agent.config.campaign import FILE_NAME as CAMPAIGN_FILE
from glassmap.agent.config.campaign import CampaignConfig, first_own_round
from glassmap.agent.content_hash import harm_of
from glassmap.agent.errors import CampaignError, GlassmapError, StoreError
from glassmap.agent.planning.acquisition import coverage_of, spread_evenly
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Spectrum
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import lock
from glassmap.agent.store.inspection import inspect
from glassmap.agent.store.records import DroppedScan, Measurement, Suggestion, copy_name
from glassmap.agent.store.salvage import Lost, Salvaged, salvage
from glassmap.agent.store.schema import FILE_NAME as STORE
from glassmap.agent.store.trouble import COPY_NAME, refuse_missing
from glassmap.flows.backends.lab.drop_folders import find
from glassmap.flows.backends.protocol import FROM_PYTHON, open_backend
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign, record_start, with_space
from glassmap.flows.rounds.mend import mend_artefacts
from glassmap.flows.rounds.orders import order_of, write_orders
from glassmap.flows.rounds.record import record

RESCUED = f"{STORE}.damaged"  # while it is repaired; then with a number
ASKED = {"suggestions", "batches"}  # tables that a round begins with
FOUND = {"stages", "curve", "curve_errors", "marks", "artefacts", "decisions"}  # and those that it ends with
STARTS = [Lost("settings", key) for key in ("elements", "config", "source", "fingerprint", "guide_fingerprint")]
TRANSIENT = {"progress", "notices", "failures"}  # come again by themselves, or are of no use later


class Told(NamedTuple):
    """What was done, or is lost."""

    text: str
    is_lost: bool = False


def repair(folder: Path, *, report: Report = ignore, person: str) -> Generator[Told]:
    """Make a campaign whole again, as far as that can be, and go on where it was.

    Args:
        folder: The campaign's.
        report: Told how far mending models and maps is.
        person: Who does it, for the log.

    Yields:
        A sentence for each thing that was done, or is lost; nothing where nothing was wrong.

    Raises:
        CampaignBusy: If a process is at work on the campaign.
        StoreError: If there is nothing to make a store of.
        CampaignError: If its settings or data refuse to go on.
    """
    if not folder.is_dir():
        refuse_missing(folder)
    with lock(folder):
        yield from _repair_store(folder)
        yield from _repair_settings(folder)
    with open_campaign(folder, report=report, person=person) as campaign:
        yield from _measure_again(campaign)
        yield from map(Told, mend_artefacts(campaign))
        yield from _repair_scans(campaign.store)
        yield from _repair_orders(campaign.store)
        yield from _repair_copy(campaign.store)


def _repair_store(folder: Path) -> Iterator[Told]:
    """Put a new store in place of one that is damaged or missing."""
    path, rescued, copy = folder / STORE, folder / RESCUED, folder / COPY_NAME
    is_there = path.exists() and path.stat().st_size > 0
    if not rescued.exists():
        if is_there and not inspect(path).harms:
            return
        if is_there:
            _set_aside(path, rescued)
    elif is_there and not cmp(path, rescued, shallow=False) and not inspect(path).harms:
        yield Told(f"{STORE} was put together already. The damaged one is kept as {_keep(rescued)}.")
        return
    if not (rescued.exists() or copy.exists()):
        raise StoreError(
            f"{path} is {'empty' if path.exists() else 'missing'}, and no copy of it, {COPY_NAME}, is there. Unpack a "
            "backup."
        )
    source = rescued if rescued.exists() else copy
    settler = _Settler(folder)
    with whole_file(path) as new:
        found = salvage(
            source,
            new,
            copy=copy if copy.exists() and source is rescued else None,
            recall=settler.recall,
            settle=settler.settle,
        )
        for ending in ("-wal", "-shm"):  # of what is kept beside; they would be taken for the new one's
            path.with_name(f"{STORE}{ending}").unlink(missing_ok=True)
    if source is rescued:
        yield Told(f"{STORE} was damaged: {found.taken} rows were whole. It is kept as {_keep(rescued)}.")
    else:
        yield Told(f"{STORE} was missing: put back from {COPY_NAME}. What came since is done again.")
    yield from _tell(found)
    yield from settler.told


def _set_aside(path: Path, rescued: Path) -> None:
    """Copy a damaged store and its write-ahead log beside itself; with the store's copy, both are there."""
    for ending in ("-wal", ""):
        if (old := path.with_name(f"{path.name}{ending}")).exists():
            with whole_file(rescued.with_name(f"{rescued.name}{ending}")) as partial:
                copyfile(old, partial)


def _keep(rescued: Path) -> str:
    """Number the damaged store, as its repair is done."""
    number = 1
    while (kept := rescued.with_name(f"{RESCUED}-{number}")).exists():
        number += 1
    if (log := rescued.with_name(f"{RESCUED}-wal")).exists():
        log.replace(kept.with_name(f"{kept.name}-wal"))
    rescued.replace(kept)
    sync(kept.parent)
    return kept.name


def _tell(found: Salvaged) -> Iterator[Told]:
    for names, what in (
        (found.mended, "put together again, as its checksum proves"),
        (found.older, "as it was when the store was copied last; see `glassmap log` for what was decided since"),
        (found.unproven, "taken as it is, as its checksum was harmed"),
    ):
        yield from (Told(f"{name}: {what}.", is_lost=names is found.older) for name in names)
    yield from (Told(f"{lost}: lost.{_comes_again(lost)}", is_lost=True) for lost in found.lost)


def _comes_again(lost: Lost) -> str:
    match lost.table:
        case "spectra":
            return " It is waited for again."
        case "files" | "samples":
            return " The file is read again where it still lies in a drop folder."
        case "exclusions":
            return " The alloy is waited for again."
        case _:
            return ""


class _Settler:
    """Has a salvaged store make sense without what is lost, and asks who measured."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.told = folder, list[Told]()
        self._open = cache(self._open_anew)

    def recall(self, store: CampaignStore, measurement: Measurement) -> Spectrum | None:
        """Ask who measured for a spectrum again."""
        try:
            backend = self._open(store).at(measurement.round).backend
        except CampaignError as error:  # such as a data set that isn't there
            self.told.append(Told(f"Who measured can't be asked: {error}", is_lost=True))
            return None
        return backend.recall(measurement, store)

    def settle(self, store: CampaignStore, found: Salvaged) -> None:
        """Record anew how the campaign began; then have the rounds that lost something do it again."""
        if store.lacks_start:
            campaign = self._open(store)
            store.forget_start()
            record_start(store, campaign.config, campaign.config.given, campaign.backend, campaign.guide)
            self.told.append(Told("How the campaign began was recorded anew, from its file and data."))
            found.lost = [lost for lost in found.lost if lost.table not in ("axes", "campaign") and lost not in STARTS]
        store.forget_files_of_the_lost()
        if any(lost.table in ("files", "scans") for lost in found.lost):
            store.forget_waiting_scans()  # of some it may be lost that they wait; their files are read again
        if any(lost.table == "samples" for lost in found.lost):
            store.forget_tables([file for file in store.files() if (self._folder / file.path).is_file()])
        self._restore_ledger(store, found)
        rounds = {_number(lost) or store.last_round() for lost in found.lost if lost.table in ASKED | FOUND}
        if rounds:
            self._do_again(store, found, sorted(rounds))
        found.lost = [lost for lost in found.lost if not (lost.table in TRANSIENT or self._comes_again(store, lost))]
        store.log("repaired", f"{len(found.mended)} rows put together, {len(found.lost)} lost")

    def _restore_ledger(self, store: CampaignStore, found: Salvaged) -> None:
        """Enter the scans of measurements again whose entries are lost; they would be taken for repeated ones."""
        entered = 0
        known = {(scan.hash, scan.name) for scan in store.scans()}
        for measured in store.measurements(with_fact="hash"):
            path, hash_ = str(measured.facts.get("file")), str(measured.facts["hash"])
            if path == FROM_PYTHON:
                continue
            name, matched = (str(measured.facts.get(fact, "")) for fact in ("scan", "sample"))
            if (hash_, name) not in known:  # of several measurements, the last
                scan = DroppedScan(hash_, name, state="used", measurement=measured.id, matched=matched)
                store.record_scan(scan._replace(x=measured.facts.get("x"), y=measured.facts.get("y")))
            if store.file_of(hash_) is not None:
                continue
            place = self._folder / path
            size, modified = find(place, self._folder)[2:] if place.is_file() else (0, 0)
            store.record_file(
                path,
                size=size,
                modified=modified,
                hash_=hash_,
                kind="scan",
                state="used",
                reason="measured",
                measurement=None if name else measured.id,
                is_news=False,
            )
            entered += 1
        if entered:
            self.told.append(Told(f"{entered} of the ledger's entries were written anew, as measurements name them."))
            of_files = [lost for lost in found.lost if lost.table == "files"]
            found.lost = [lost for lost in found.lost if lost not in of_files[:entered]]
        found.lost = [lost for lost in found.lost if lost.table != "scans"]  # entered anew, or read again

    def _comes_again(self, store: CampaignStore, lost: Lost) -> bool:
        """Return whether a measurement is lost that the campaign makes again itself, and say so."""
        asked = store.suggestion(lost.name) if lost.table == "spectra" else None
        if asked is None or self._open(store).at(asked.round).backend.is_asynchronous:
            return False
        self.told.append(Told(f"{lost} can't be had any more: it is measured again."))
        return True

    def _open_anew(self, store: CampaignStore) -> OpenCampaign:
        """Open who measures, by the campaign file or, where that can't be read, what was recorded of it."""
        try:
            config = CampaignConfig.from_toml(self._folder / CAMPAIGN_FILE)
            if store.has_begun:
                config = config.continuing(store.config, given=store.given_settings)
        except CampaignError:
            if not store.has_begun:
                raise
            config = CampaignConfig.recorded(store.config)
        planned = store.planned_by(0)
        began = config if planned is None else with_space(config, planned.space)
        guide = None if config.guide is None else open_backend(config.guide.backend, began, self._folder)
        return OpenCampaign(config, store, open_backend(config.backend, began, self._folder), guide=guide)

    def _do_again(self, store: CampaignStore, found: Salvaged, rounds: list[int]) -> None:
        """Have rounds that lost what they asked for or found do it again.

        What measures itself measures the same again. A laboratory's samples stay: its orders say which they are.
        """
        config = store.config
        if not settings_of(kind_of(config["backend"])).takes_deliveries or rounds[0] < first_own_round(config):
            store.begin_again(rounds[0], with_spectra=True)
            self.told.append(Told(f"Round {rounds[0]} is begun again: the same alloys are planned and measured."))
            again = {"spectra", *ASKED, *FOUND}
            found.lost = [one for one in found.lost if one.table not in again or 0 < _number(one) < rounds[0]]
            return
        campaign, last = self._open(store), store.last_round()
        for round_ in rounds:
            if restored := _restore_order(campaign, round_):
                self.told.append(Told(f"What round {round_} asks for was read from {restored}."))
                found.lost = [one for one in found.lost if not (one.table in ASKED and _number(one) in (0, round_))]
        if last in rounds:
            if store.suggestions(round_=last):
                store.measure_again(last)
            else:
                store.begin_again(last, with_spectra=False)
            self.told.append(Told(f"Round {last} goes on with measuring."))
            found.lost = [one for one in found.lost if not (one.table in FOUND and _number(one) in (0, last))]


def _number(lost: Lost) -> int:
    """Return the round of a row that is lost, 0 where that isn't known."""
    key = r"row (\d+)" if lost.table in ("batches", "curve", "decisions") else r"r?(\d+)\b.*"
    found = re.fullmatch(key, lost.name)
    return int(found[1]) if found else 0


def _restore_order(campaign: OpenCampaign, round_: int) -> str | None:
    """Record what a round asks for as its order says it; returns the file, None where that can't be read."""
    store, space = campaign.store, campaign.space_of(round_)
    file = store.folder / "orders" / f"round-{round_:03d}.json"
    try:
        order = json.loads(file.read_bytes())
        ids = [str(sample["sample"]) for sample in order["samples"]]
        at_pct = np.array([[sample[f"{e} (at.%)"] for e in store.elements] for sample in order["samples"]], dtype=float)
        positions = [int(id_.rpartition("-")[2]) - 1 for id_ in ids]  # orders go by wafers
        exists = [bool(sample.get("point")) for sample in order["samples"]]
        near = np.rint(at_pct / space.step_at_pct).astype(np.int64)
        ranks = np.array([0 if is_one else space.rank(near[[k]])[0] for k, is_one in enumerate(exists)])
        ordered = datetime.fromisoformat(order["ordered"])
    except (OSError, ValueError, KeyError, TypeError, GlassmapError):
        return None
    closed = at_pct / at_pct.sum(axis=1, keepdims=True)
    compositions = np.where(np.array(exists)[:, None], closed, space.compositions(ranks))
    held = {*spread_evenly(compositions, campaign.hold_out_share_of(round_)).tolist()}
    measured = {m.suggestion: m.hold_out for m in store.measurements()}
    for k, (id_, said) in enumerate(zip(ids, order["samples"], strict=True)):
        lost = Suggestion(id_, round_, int(ranks[k]), tuple(compositions[k].tolist()), measured.get(id_, k in held))
        if exists[k]:
            lost = lost._replace(sample=said["point"], wafer=said["wafer"], x=said["x (mm)"], y=said["y (mm)"])
        store.restore_suggestion(lost, position=positions[k])
    taken = np.array([s.composition for s in store.suggestions() if s.round < round_]).reshape(-1, len(store.elements))
    store.restore_batch(round_, coverage_of(space, compositions, taken=taken), ordered=ordered)
    return file.name


def _repair_settings(folder: Path) -> Iterator[Told]:
    """Write the campaign file anew where it can't be read."""
    path = folder / CAMPAIGN_FILE
    try:
        CampaignConfig.from_toml(path)
    except CampaignError as error:
        with CampaignStore.read_only(folder) as store:
            config = CampaignConfig.recorded(store.config)
        if path.exists():
            write_whole(path.with_name(f"{path.name}.damaged"), path.read_bytes())
        config.to_toml(path)
        yield Told(f"{path.name} was written anew, as the store has the settings. It could not be read: {error}")


def _measure_again(campaign: OpenCampaign) -> Iterator[Told]:
    """Measure what is missing of rounds that were measured, where the campaign does that itself."""
    store = campaign.store
    for round_ in range(1, store.last_round() + 1):
        backend = campaign.at(round_).backend
        missing = store.suggestions(round_=round_, pending=True)
        if backend.is_asynchronous or not missing or store.stage_status(round_, "measure") != "done":
            continue
        with closing(backend.measure(missing, store)) as events:
            for event in events:
                with store.transaction():
                    said = record(campaign, round_, event)
                if said:
                    yield Told(f"Measured again: {said}")


def _repair_scans(store: CampaignStore) -> Iterator[Told]:
    """Copy files once more whose copies are lost or harmed, where they still lie where they were dropped."""
    for file in store.files():
        if file.state not in ("used", "waiting"):
            continue
        kept, dropped = store.folder / "scans" / copy_name(file.hash, file.path), store.folder / file.path
        if (harm := harm_of(kept)) is None:
            continue
        content = dropped.read_bytes() if dropped.is_file() else b""
        if hashlib.sha256(content).hexdigest() == file.hash:
            write_whole(kept, content)
            yield Told(f"{kept.name} {harm}: copied once more from {file.path}.")
        else:
            stays = f" Its measurement {file.measurement} stays." if file.measurement else ""
            yield Told(f"{kept.name}, the copy of {file.path}, {harm}: lost.{stays}", is_lost=True)


def _repair_orders(store: CampaignStore) -> Iterator[Told]:
    """Write orders anew that don't say what the store says."""
    for round_ in range(1, store.last_round() + 1):
        files = ((store.folder / "orders" / name, text) for name, text in order_of(store, round_).items())
        if wrong := [file.name for file, text in files if not file.is_file() or file.read_bytes() != text.encode()]:
            with store.transaction():
                store.mark_order(round_)
            yield Told(f"{' and '.join(wrong)} {'was' if len(wrong) == 1 else 'were'} written anew.")
    write_orders(store)


def _repair_copy(store: CampaignStore) -> Iterator[Told]:
    """Copy the store anew where its copy is harmed."""
    copy = store.folder / COPY_NAME
    if copy.exists() and inspect(copy).harms:
        store.copy_to(copy)
        yield Told(f"{COPY_NAME} was damaged: the store was copied anew.")

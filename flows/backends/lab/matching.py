"""Which alloy a scan is of: by its name, by composition tables, by what is waited for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glassmap.agent.data.scan_files import SUFFIXES, RawScan
from glassmap.agent.shapes import Composition
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion
from glassmap.flows.backends.lab.backend import Laboratory


def identify(
    store: CampaignStore, lab: Laboratory, path: str, hash_: str, scan: RawScan
) -> tuple[Suggestion | None, Composition | None, str]:
    """What a scan is of: the alloy that was asked for, its composition, or why that isn't known.

    It may be called in a table, or an order, by any of its files, the last first, or as the instrument says.
    """
    called = (*(Path(name).name for name in (path, *store.paths_of(hash_))), scan.sample)
    names = list(dict.fromkeys(plain(name) for name in called if name))
    asked = next((s for s in map(store.suggestion, names) if s is not None and s.round >= lab.since), None)
    composition, reason = composition_of(store, names, Path(path).parent)
    if composition is None and asked is not None and lab.settings.composition == "target":
        composition = np.array(asked.composition)
    return asked, composition, reason


def composition_of(store: CampaignStore, names: Sequence[str], folder: Path) -> tuple[Composition | None, str]:
    """What composition tables say of a scan in a folder, or why they don't.

    An alloy of an order has its name to itself: the last table that holds it counts. Other names, such as `1`, come
    again with every wafer: a table in the scan's own folder counts, else those of other folders where they agree.
    """
    for name in names:
        said = store.samples(name)
        if store.suggestion(name) is None:
            last = {Path(path).parent: (path, composition) for path, composition in reversed(said)}
            said = [last[folder]] if folder in last else list(last.values())
            if len({composition for _, composition in said}) > 1:
                tables = " and ".join(sorted(path for path, _ in said))
                return None, f"{tables} differ in what they say of {name}. Copy the right one beside the scan."
        if said:
            return np.array(said[0][1]), ""
    return None, f"No composition table names {' or '.join(names)}."


def plain(name: str) -> str:
    """A sample's name without the ending of a scan, in lower case."""
    path = Path(name.strip())
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name).lower()


def nearest_pending(store: CampaignStore, composition: Composition, lab: Laboratory) -> Suggestion | None:
    """The alloy that is waited for and was probably meant."""
    pending = [s for s in store.suggestions(pending=True) if s.round >= lab.since]
    off = [100 * float(np.abs(composition - np.array(s.composition)).max()) for s in pending]
    nearest = int(np.argmin(off)) if off else 0
    return pending[nearest] if off and off[nearest] <= lab.settings.tolerance_at_pct else None


def is_beside_held_out(store: CampaignStore, composition: Composition, lab: Laboratory) -> bool:
    """Whether learning from an alloy would show the model one that it is judged by."""
    held = store.spectra(hold_out=True, since=lab.since)[1]
    tolerance = lab.settings.tolerance_at_pct / 100
    return bool(len(held)) and float(np.abs(held - composition).max(axis=1).min()) <= tolerance

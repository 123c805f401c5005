"""Which alloy a scan is of: by its name, by composition tables, by what is waited for."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from glassmap.agent.data.context import Held, Value
from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import SUFFIXES
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Composition
from glassmap.agent.store.records import Suggestion
from glassmap.flows.backends.protocol import Ledger

Said = TypeVar("Said")  # of a sample by a table: its composition, or a process variable


def identify(
    ledger: Ledger, path: str, hash_: str, scan: RawScan, *, since: int, takes_target: bool, held: Held
) -> tuple[Suggestion | None, Composition | None, Held, str]:
    """Find what a scan is of: the alloy that was asked for, its composition, its process, or why that isn't all known.

    It may be called in a table, or an order, by any of its files, the last first, or as the instrument says.

    Args:
        ledger: What is recorded.
        path: Of the scan, as the ledger calls it.
        hash_: Of its content.
        scan: What it holds.
        since: The first round that counts.
        takes_target: Whether a scan that no table names is of what was asked for, composition and process.
        held: The process variables that have to be known, at the values that are asked for.

    Returns:
        The suggestion if it is of one, the composition and the process variables; no composition, and why, where
        something isn't known.
    """
    names = names_of(ledger, path, hash_, scan)
    asked = next((s for s in map(ledger.suggestion, names) if s is not None and s.round >= since), None)
    composition, reason = composition_of(ledger, names, Path(path).parent)
    if composition is None and asked is not None and takes_target:
        composition = np.array(asked.composition)
    said, differing = context_of(ledger, names, Path(path).parent, held)
    if composition is not None and differing:
        return asked, None, {}, differing
    context = {**(held if asked is not None and takes_target else {}), **said}
    if composition is not None and (lacking := [name for name in held if name not in context]):
        return asked, None, {}, f"No composition table says {' and '.join(lacking)} of {' or '.join(names)}."
    return asked, composition, {name: context[name] for name in held if name in context}, reason


def names_of(ledger: Ledger, path: str, hash_: str, scan: RawScan) -> list[str]:
    """Return the plain names that a scan goes by: of its files, the last first, and as the instrument says."""
    called = (*(Path(name).name for name in (path, *ledger.paths_of(hash_))), scan.sample)
    return list(dict.fromkeys(plain(name) for name in called if name))


def wafer_of(ledger: Ledger, names: Sequence[str], folder: Path) -> str:
    """Find which wafer composition tables say that a scan in a folder lies on; empty where they don't, or differ.

    Args:
        ledger: What is recorded.
        names: That the scan goes by.
        folder: It lies in, whose own table counts.
    """
    for name in names:
        said = ledger.wafers(name)
        beside = [wafer for path, wafer in said if Path(path).parent == folder][:1]
        if len(found := {*(beside or (wafer for _, wafer in said))}) == 1:
            return found.pop()
    return ""


def context_of(
    ledger: Ledger,
    names: Sequence[str],
    folder: Path,
    variables: Iterable[str],
    *,
    newest: tuple[str, Mapping[str, Held]] = ("", {}),
) -> tuple[dict[str, Value], str]:
    """Find what composition tables say of the process of a scan in a folder, and in which they differ.

    Each variable is looked up for itself, as a table may say some of them and another the rest; which table counts is
    as of compositions.

    Args:
        ledger: What is recorded.
        names: That the scan goes by.
        folder: It lies in.
        variables: That are asked for.
        newest: A table that isn't recorded yet: its path, and what it says of each sample.
    """
    found: dict[str, Value] = {}
    for variable in variables:
        for name in names:
            tables = [(newest[0], newest[1].get(name, {})), *ledger.contexts(name)]
            said = [(path, values[variable]) for path, values in tables if variable in values]
            said, differing = _that_count(ledger, name, said, folder, of=f"the {variable} of {name}")
            if differing:
                return found, differing
            if said:
                found[variable] = said[0][1]
                break
    return found, ""


def composition_of(
    ledger: Ledger,
    names: Sequence[str],
    folder: Path,
    *,
    newest: tuple[str, Mapping[str, Composition]] = ("", {}),
) -> tuple[Composition | None, str]:
    """Find what composition tables say of a scan in a folder, or why they don't.

    An alloy of an order has its name to itself: the last table that holds it counts. Other names, such as `1`, come
    again with every wafer: a table in the scan's own folder counts, else those of other folders where they agree.

    Args:
        ledger: What is recorded.
        names: That the scan goes by.
        folder: It lies in.
        newest: A table that isn't recorded yet: its path, and what it says of each sample.
    """
    for name in names:
        said = ledger.samples(name)
        if name in newest[1]:
            said = [(newest[0], tuple(newest[1][name].tolist())), *said]
        said, differing = _that_count(ledger, name, said, folder, of=name)
        if differing:
            return None, differing
        if said:
            return np.array(said[0][1]), ""
    return None, f"No composition table names {' or '.join(names)}."


def _that_count(
    ledger: Ledger, name: str, said: Sequence[tuple[str, Said]], folder: Path, *, of: str
) -> tuple[Sequence[tuple[str, Said]], str]:
    """Return what of all that tables say, the last first, counts for a scan in a folder; or how they differ."""
    if ledger.suggestion(name) is not None:
        return said, ""
    last = {Path(path).parent: (path, value) for path, value in reversed(said)}
    said = [last[folder]] if folder in last else list(last.values())
    if len({value for _, value in said}) > 1:
        tables = " and ".join(sorted(path for path, _ in said))
        return [], f"{tables} differ in what they say of {of}. Copy the right one beside the scan."
    return said, ""


def plain(name: str) -> str:
    """Return a sample's name without the ending of a scan, in lower case, characters that act by their code."""
    path = Path(visible(name.strip()))
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name).lower()


def nearest_pending(
    ledger: Ledger, composition: Composition, *, since: int, tolerance_at_pct: float
) -> Suggestion | None:
    """Find the alloy that is waited for since a round or later and was probably meant, within a tolerance."""
    pending = [s for s in ledger.suggestions(pending=True) if s.round >= since]
    off = [100 * float(np.abs(composition - np.array(s.composition)).max()) for s in pending]
    nearest = int(np.argmin(off)) if off else 0
    return pending[nearest] if off and off[nearest] <= tolerance_at_pct else None


def is_in_use(ledger: Ledger, hash_: str) -> bool:
    """Return whether a content gave a measurement that wasn't retracted."""
    return any(m.state != "retracted" for m in ledger.measurements_of(hash_))

"""The drop folders: which files lie there, whole and quiet. They are never changed."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from glassmap.agent.store.records import DroppedFile

UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")  # endings of files that something still writes


class Found(NamedTuple):
    """A file in a drop folder, as it was when it was looked at."""

    path: Path
    name: str  # as the ledger calls it: relative to the campaign where it lies within
    size: int  # bytes
    modified: int  # ns, since 1970


def quiet_files(folder: Path, drops: Sequence[Path], *, quiet_seconds: float) -> Iterator[Found]:
    """Find the files in the drop folders of a campaign that are whole and quiet; links aren't followed.

    Args:
        folder: The campaign's.
        drops: Its drop folders.
        quiet_seconds: A file that changed since is still being written.
    """
    now = time.time_ns()
    for drop in drops:
        for parent, folders, names in os.walk(drop, followlinks=False):
            folders.sort()
            for name in sorted(names):
                path = Path(parent) / name
                if name.startswith((".", "~$")) or path.suffix.lower() in UNFINISHED:
                    continue
                try:
                    file = find(path, folder)
                except FileNotFoundError:  # moved on in the meantime
                    continue
                if not 0 <= now - file.modified < quiet_seconds * 1e9:  # a clock may be ahead
                    yield file


def find(path: Path, folder: Path) -> Found:
    """Look at a file, and name it as the ledger of a campaign's folder does."""
    status = path.lstat()
    absolute = path.absolute()
    name = absolute.relative_to(folder.absolute()) if absolute.is_relative_to(folder.absolute()) else absolute
    printable = os.fsencode(name).decode("utf-8", "backslashreplace")
    return Found(absolute, printable, status.st_size, status.st_mtime_ns)


def is_new(file: Found, before: DroppedFile | None, *, again: bool) -> bool:
    """Return whether a file isn't what was last seen at its place, or was refused and may be taken `again`."""
    if before is None or (file.size, file.modified) != (before.size, before.modified):
        return True
    return again and before.state == "quarantined"

"""The drop folders: which files lie there, whole and quiet. They are never changed."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from glassmap.agent.outside_text import visible
from glassmap.agent.store.records import DroppedFile

MAX_TIME = 2**63 - 1  # ns, as much as the store holds: a clock may say the year 2300
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
    for file, is_quiet in _whole_files(folder, drops, quiet_seconds=quiet_seconds):
        if is_quiet:
            yield file


def count_new(folder: Path, drops: Sequence[Path], *, quiet_seconds: float) -> int:
    """Count the files in the drop folders that `quiet_files` leaves for later, as they may still be being written."""
    return sum(not is_quiet for _, is_quiet in _whole_files(folder, drops, quiet_seconds=quiet_seconds))


def _whole_files(folder: Path, drops: Sequence[Path], *, quiet_seconds: float) -> Iterator[tuple[Found, bool]]:
    """Find the files that aren't named as unfinished, and whether each has been quiet for long enough."""
    now = time.time_ns()
    for drop in drops:
        for path in _files_in(drop):
            if path.name.startswith((".", "~$")) or path.suffix.lower() in UNFINISHED:
                continue
            try:
                file = find(path, folder)
            except FileNotFoundError:  # moved on in the meantime
                continue
            except OSError:  # not ours to look at, which is said when its content is asked for
                file = Found(path.absolute(), name_of(path, folder), 0, 0)
            yield file, not 0 <= now - file.modified < quiet_seconds * 1e9  # a clock may be ahead


def _files_in(folder: Path) -> Iterator[Path]:
    """Find what lies in a folder and the folders in it, however deep; what can't be listed is left out."""
    folders = [os.fspath(folder)]
    while folders:
        entries = list[os.DirEntry[str]]()
        with suppress(OSError), os.scandir(folders.pop()) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        is_folder = [_is_folder(entry) for entry in entries]
        inside = zip(reversed(entries), reversed(is_folder), strict=True)
        folders += [entry.path for entry, is_one in inside if is_one and not entry.is_symlink()]
        yield from (Path(entry) for entry, is_one in zip(entries, is_folder, strict=True) if not is_one)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def find(path: Path, folder: Path) -> Found:
    """Look at a file, and name it as the ledger of a campaign's folder does."""
    status = path.lstat()
    modified = max(-MAX_TIME, min(status.st_mtime_ns, MAX_TIME))
    return Found(path.absolute(), name_of(path, folder), status.st_size, modified)


def name_of(path: Path, folder: Path) -> str:
    """Name a file as the ledger of a campaign's folder does: what is no text, or would act, by its code."""
    absolute = path.absolute()
    name = absolute.relative_to(folder.absolute()) if absolute.is_relative_to(folder.absolute()) else absolute
    return visible(os.fsencode(name).decode("utf-8", "backslashreplace"))


def is_new(file: Found, before: DroppedFile | None, *, again: bool) -> bool:
    """Return whether a file isn't what was last seen at its place, or was refused and may be taken `again`."""
    if before is None or (file.size, file.modified) != (before.size, before.modified):
        return True
    return again and before.state == "quarantined"

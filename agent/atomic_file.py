"""Files that are there whole or not at all, however a process ends, and stay there when the power is cut.

A name is on the disk once its folder is: some file systems (btrfs, NFS) lose a rename, and a folder that was just made,
however often the file itself was synced. So whoever has written a file here may record that it is there.
"""

import os
import platform
from collections.abc import Callable, Generator
from contextlib import contextmanager
from errno import EINVAL, ENOTSUP
from pathlib import Path
from uuid import uuid4

from glassmap.agent.content_hash import hash_of

PREFIX = ".partial"


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Give a place to write to, which becomes `path` once the block ends; then content and name are on the disk.

    Args:
        path: Its folder is made where it doesn't exist.
    """
    make_folder(path.parent)
    partial = _partial_beside(path)
    try:
        yield partial
        _move(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def write_by_content(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Write a whole file that is called by the hash of its content; return its path.

    Args:
        folder: Made where it doesn't exist.
        name: With `{}` where the hash goes, such as `round-003-{}.h5`.
        write: Given a place to write to.
    """
    make_folder(folder)
    partial = _partial_beside(folder / name)
    try:
        write(partial)
        path = folder / name.format(hash_of(partial))
        _move(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, where they don't exist, and have their names on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, on the disk, not only on their way there."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP) or not path.is_dir():  # a shared folder that can't be synced
            raise
    finally:
        os.close(opened)


def _partial_beside(path: Path) -> Path:
    """Return a name of this process's own, beside a file that is yet to be."""
    return path.with_name(f"{PREFIX}-{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}{path.suffix}")


def _move(partial: Path, path: Path) -> None:
    """Give what was written its name, for good."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sweep_partials(folder: Path) -> None:
    """Remove what processes of this machine left that were killed while they wrote."""
    start = f"{PREFIX}-{platform.node()}-"
    for partial in folder.glob(f"{start}*"):
        owner = partial.name.removeprefix(start).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            partial.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True

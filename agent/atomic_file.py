"""Files that are there whole or not at all, however a process ends."""

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PREFIX = ".partial"


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Give a place to write to, which becomes `path` once the block ends and its content is on the disk.

    Args:
        path: Its folder is made where it doesn't exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_beside(path)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def partial_beside(path: Path) -> Path:
    """Return a name of this process's own, beside a file that is yet to be."""
    return path.with_name(f"{PREFIX}-{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}{path.suffix}")


def sync(path: Path) -> None:
    """Have a file's content on the disk, not only on its way there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


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

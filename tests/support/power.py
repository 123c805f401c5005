"""Power cuts: a disk that keeps what was synced alone, and a file system that loses names which were not.

`Disk` stands in for the worst that a file system may do: of each file the content as of its last fsync, empty where it
had none, under the names that its folder had as of the folder's. SQLite syncs its own files, which are taken as they
are. `btrfs` is a real one, in a file, which can be copied at any moment as the disk under it is then.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glassmap.agent.store.connection import FILE_NAME

Inode = int


class Disk:
    """What of a folder would be there after a power cut; all that lies there at first is."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._names: dict[Inode, dict[str, Inode]] = {}  # of each folder, as of its last fsync
        self._contents: dict[Inode, bytes] = {}  # of each file, as of its last fsync
        self._opened: list[int] = []  # so that no inode is used again
        self._really_sync = os.fsync
        for path in (root, *root.rglob("*")):
            opened = os.open(path, os.O_RDONLY)
            self._keep(opened)
            os.close(opened)
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, opened: int) -> None:
        self._really_sync(opened)
        self._keep(opened)

    def _keep(self, opened: int) -> None:
        self._opened.append(os.dup(opened))
        path = Path(f"/proc/self/fd/{opened}")
        inode = os.fstat(opened).st_ino
        if path.is_dir():
            with os.scandir(opened) as entries:
                self._names[inode] = {entry.name: entry.inode() for entry in entries}
        else:
            self._contents[inode] = path.read_bytes()

    def content(self, path: Path) -> bytes | None:
        """Return what a file would hold; None where it would not be there."""
        inode = self.root.stat().st_ino
        for name in path.relative_to(self.root).parts:
            if (found := self._names.get(inode, {}).get(name)) is None:
                return None
            inode = found
        return self._contents.get(inode, b"")

    def cut(self, to: Path) -> Path:
        """Write what would be there into a new folder."""
        self._restore(self.root.stat().st_ino, to)
        for store in self.root.rglob(f"{FILE_NAME}*"):
            shutil.copy(store, to / store.relative_to(self.root))
        return to

    def _restore(self, inode: Inode, to: Path) -> None:
        to.mkdir()
        for name, child in self._names.get(inode, {}).items():
            if child in self._names or (child not in self._contents and "." not in name):
                self._restore(child, to / name)
            else:
                (to / name).write_bytes(self._contents.get(child, b""))

    def end(self) -> None:
        """Let go of the files."""
        for opened in self._opened:
            os.close(opened)


@contextmanager
def btrfs(image: Path) -> Iterator[Path]:
    """Mount a btrfs that lies in a file, made where there is none; skipped where that takes a right or program."""
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("needs root and btrfs-progs, to mount a btrfs")
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(256 << 20)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    place = image.with_suffix(".mounted")
    place.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs a kernel that mounts btrfs: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def copy_as_it_is(image: Path, to: Path) -> Path:
    """Copy the disk under a mounted file system, as a power cut would leave it."""
    subprocess.run(["cp", "--sparse=always", image, to], check=True)
    return to

"""A file for HDF5 to write to that fails once, as a whole.

HDF5 tries again to write what the disk refused for each object that it lets go of, and tells the terminal of each
failure, past every handler.
"""

from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any


class _File(FileIO):
    """Remembers the first thing that was refused, and takes whatever comes after it."""

    refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of the data, as if it had been written where it can't be."""
        whole = memoryview(data).cast("B")
        done = 0
        try:
            while self.refused is None and done < len(whole):
                done += super().write(whole[done:]) or 0
        except OSError as error:
            self.refused = error
        return len(whole)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size, as if it had been set where it can't be."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.refused = self.refused or error
            return size or 0


@contextmanager
def hdf5_file(path: Path) -> Generator[FileIO]:
    """Give a file to write, in place of its path, with h5py, h5netcdf or xarray.

    Raises:
        OSError: At the end, if the disk refused anything.
    """
    with _File(path, "w+") as file:
        try:
            yield file
        except Exception as error:
            if file.refused is not None:
                raise file.refused from error
            raise
        if file.refused is not None:
            raise file.refused

"""A file for HDF5 to write to that fails once, as a whole.

HDF5 tries again to write what the disk refused for each object that it lets go of, tells the terminal of each failure,
past every handler, and may end the process where it reads back what isn't there.
"""

from collections.abc import Generator
from contextlib import contextmanager
from io import SEEK_END, BytesIO, FileIO, RawIOBase
from pathlib import Path
from typing import Any


class _File(RawIOBase):
    """Goes on in memory once the disk has refused something, so that HDF5 can end as it is used to."""

    def __init__(self, path: Path) -> None:
        self._place: FileIO | BytesIO = FileIO(path, "w+")
        self.refused: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._place.seek(offset, whence)

    def tell(self) -> int:
        return self._place.tell()

    def readinto(self, buffer: Any, /) -> int:
        return self._place.readinto(buffer) or 0

    def write(self, data: Any, /) -> int:
        """Write all of the data."""
        whole, start, done = memoryview(data).cast("B"), self._place.tell(), 0
        try:
            while done < len(whole):
                done += self._place.write(whole[done:]) or 0
        except OSError as error:
            self._go_on_in_memory(error)
            self._lengthen(start)
            self._place.seek(start)
            self._place.write(whole)
        return len(whole)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size; a longer file ends in zeros."""
        size = self._place.tell() if size is None else size
        try:
            self._place.truncate(size)
        except OSError as error:
            self._go_on_in_memory(error)
        if self.refused is not None:
            self._place.truncate(size)
            self._lengthen(size)
        return size

    def close(self) -> None:
        self._place.close()
        super().close()

    def _go_on_in_memory(self, error: OSError) -> None:
        at = self._place.tell()
        self._place.seek(0)
        written = self._place.read()
        self._place.close()
        self.refused, self._place = error, BytesIO(written)
        self._place.seek(at)

    def _lengthen(self, size: int) -> None:
        """Have the memory hold so many bytes at least, and stay at the same place."""
        at = self._place.tell()
        self._place.write(bytes(max(0, size - self._place.seek(0, SEEK_END))))
        self._place.seek(at)


@contextmanager
def hdf5_file(path: Path) -> Generator[RawIOBase]:
    """Give a file to write, in place of its path, with h5py, h5netcdf or xarray.

    Raises:
        OSError: At the end, if the disk refused anything.
    """
    with _File(path) as file:
        try:
            yield file
        except Exception as error:
            if file.refused is not None:
                raise file.refused from error
            raise
        if file.refused is not None:
            raise file.refused

"""What the disk refuses of an HDF5 file is one error, and nothing else is told."""

import errno
import resource
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from glassmap.agent.data.dataset import SpectraSet, write_dataset
from glassmap.agent.errors import DatasetError
from glassmap.agent.hdf5_file import hdf5_file


@contextmanager
def small_disk(size: int) -> Generator[None]:
    """No file can be longer than so many bytes, which needs no disk of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(path: Path) -> None:
    with hdf5_file(path) as opened, h5py.File(opened, "w") as file:
        for k in range(20):
            file.create_dataset(f"group-{k}/spectra", data=np.random.default_rng(k).random((100, 80)), chunks=(10, 80))


def write_set(path: Path) -> None:
    rng = np.random.default_rng(0)
    spectra = SpectraSet(
        ids=tuple(map(str, range(200))),
        elements=("Co", "V"),
        compositions=rng.dirichlet((1, 1), 200),
        axis_name="q",
        axis=np.arange(400.0),
        intensities=rng.random((200, 400)),
    )
    write_dataset(spectra, path)


@pytest.mark.parametrize("how", [write, write_set])
@pytest.mark.parametrize("size", [0, 1000, 20_000, 100_000])
def test_a_disk_that_is_full_is_one_error_and_no_more_is_told(
    tmp_path: Path, how: Callable[[Path], None], size: int, capfd: pytest.CaptureFixture[str]
):
    with small_disk(size), pytest.raises((OSError, DatasetError)) as refused:
        how(tmp_path / "it.nc")
    error = refused.value if isinstance(refused.value, OSError) else refused.value.__cause__
    assert isinstance(error, OSError) and error.errno == errno.EFBIG
    assert capfd.readouterr() == ("", "")


def test_what_is_written_is_read_by_its_path(tmp_path: Path):
    write(tmp_path / "it.h5")
    with h5py.File(tmp_path / "it.h5") as file:
        assert np.array_equal(np.asarray(file["group-19/spectra"]), np.random.default_rng(19).random((100, 80)))

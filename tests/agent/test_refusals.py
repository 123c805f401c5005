from errno import EMFILE, ENOENT, ENOSPC, EROFS

import h5py
import numpy as np
import pytest

from glassmap.agent.errors import ModelError
from glassmap.agent.refusals import refusal

FULL = "The disk is full: {} could not be written. Make room, then run the same command again; nothing is half done."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(ENOSPC, "No space left on device", "maps/a.parquet"), FULL.format("maps/a.parquet")),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28]"), FULL.format("a file")),  # pyarrow
        (RuntimeError("I/O error: No space left on device (os error 28)"), FULL.format("a file")),  # safetensors
        (RuntimeError("Can't close file (file write failed: errno = 28, error message"), FULL.format("a file")),
        (OSError(EMFILE, "Too many open files"), "Too many files are open for one process. Allow more (`ulimit -n"),
        (OSError(EROFS, "Read-only file system", "a.csv"), "The disk is read-only: a.csv could not be written."),
        (OSError(ENOENT, "No such file or directory", "a.csv"), None),
        (ValueError("28 columns, 27 names"), None),
    ],
)
def test_what_the_system_refused_is_said_with_its_remedy(error: Exception, words: str | None):
    said = refusal(error)
    assert said == words or (words is not None and said is not None and said.startswith(words))


def test_what_an_error_came_from_is_looked_through_as_well():
    try:
        try:
            raise OSError(ENOSPC, "No space left on device", "b.json")
        except OSError as error:
            raise ModelError("The checkpoint can't be written.") from error
    except ModelError as error:
        assert refusal(error) == FULL.format("b.json")


def test_a_disk_that_is_full_while_an_archive_is_written_is_called_so():
    with pytest.raises(OSError) as caught, h5py.File("/dev/full", "w") as file:
        file["spectra"] = np.zeros(100_000)
    assert "disk is full" in (refusal(caught.value) or "")

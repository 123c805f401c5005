"""What the system refuses, in words: a full disk, a medium that is read-only, no handles left, no memory.

Libraries wrap its error number in errors of their own (h5py a RuntimeError, safetensors and SQLite text), so number and
text are looked for in an error and in all that it came from.
"""

import errno
import re
from collections.abc import Iterator
from os import strerror

FULL = (
    "The disk is full: {what} could not be written. Make room, then run the same command again; nothing is half done."
)
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL.replace("disk", "disk quota"),
    errno.EROFS: "The disk is read-only: {what} could not be written. Mount it to write, or work on a copy elsewhere.",
    errno.EMFILE: "Too many files are open for one process. Allow more (`ulimit -n 4096`), then run the same command "
    "again.",
    errno.ENFILE: "Too many files are open on this computer. Close some, then run the same command again.",
}
NO_MEMORY = (
    "This computer's memory ran out{detail}. End other programs, use a computer with more, or ask for less (spectra, "
    "points, model.members), then run the same command again."
)
NO_GPU_MEMORY = (
    'The GPU\'s memory ran out{detail}. End what else runs on that GPU, or set device to another or to "cpu" in '
    "campaign.toml, then run the same command again."
)
MEMORY_TEXTS = {
    "cuda out of memory": NO_GPU_MEMORY,
    "cuda error: out of memory": NO_GPU_MEMORY,
    "cublas_status_alloc_failed": NO_GPU_MEMORY,
    "cudnn_status_alloc_failed": NO_GPU_MEMORY,
    "can't allocate memory": NO_MEMORY,  # torch
    "memory allocation failed": NO_MEMORY,  # HDF5
    strerror(errno.ENOMEM).lower(): NO_MEMORY,
}
NUMBER = re.compile(r"(?:errno|os error)\W+(\d+)", re.IGNORECASE)
TEXTS = {strerror(number).lower(): number for number in REMEDIES} | {"database or disk is full": errno.ENOSPC}


def refusal(error: BaseException) -> str | None:
    """Return what the system refused and what to do about it; None where an error is of another kind."""
    for one in _causes(error):
        if (number := _number(one)) in REMEDIES:
            name = getattr(one, "filename", None)
            return REMEDIES[number].format(what="a file" if name is None else name)
        if (sentence := _no_memory(one)) is not None:
            return sentence
    return None


def _no_memory(error: BaseException) -> str | None:
    text = str(error).strip()
    sentence = next((sentence for words, sentence in MEMORY_TEXTS.items() if words in text.lower()), None)
    if sentence is None and isinstance(error, MemoryError):
        sentence = NO_MEMORY
    detail = text.split("\n")[0][:200].rstrip(".")
    return None if sentence is None else sentence.format(detail=f" ({detail})" if detail else "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error).lower()
    if found := NUMBER.search(text):
        return int(found[1])
    return next((number for words, number in TEXTS.items() if words in text), None)

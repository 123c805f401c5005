"""What the system refuses, in words: a full disk, a medium that is read-only, no handles left.

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
NUMBER = re.compile(r"(?:errno|os error)\W+(\d+)", re.IGNORECASE)
TEXTS = {strerror(number).lower(): number for number in REMEDIES} | {"database or disk is full": errno.ENOSPC}


def refusal(error: BaseException) -> str | None:
    """Return what the system refused and what to do about it; None where an error is of another kind."""
    for one in _causes(error):
        if (number := _number(one)) in REMEDIES:
            name = getattr(one, "filename", None)
            return REMEDIES[number].format(what="a file" if name is None else name)
    return None


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

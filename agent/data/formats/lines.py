"""Lines of instruments' text: its letters, and the blocks of numbers in it."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Scan


def decode(content: bytes) -> str:
    """Return text that is UTF-16 or UTF-8 by its mark, UTF-8 if it can be, or else Latin-1."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def numbers_of(lines: Sequence[str], first: int) -> Scan:
    """Return all numbers of a block, those of a line separated by blanks.

    Args:
        lines: Of the block.
        first: Number of its first line in the file.

    Raises:
        DatasetError: If a word is no number, or none that is finite.
    """
    text = " ".join(lines)
    read = read_number if "_" in text or not text.isascii() else float
    try:
        found = np.array([read(word) for word in text.split()], dtype=np.float64)
    except ValueError:
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        number, word = next(
            (number, word) for number, line in enumerate(lines, first) for word in line.split() if not _is_number(word)
        )
        raise DatasetError(f"Line {number}: a number is expected, got {word[:40]!r}. Export the scan again.")
    return found


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(read_number(word)))
    except ValueError:
        return False

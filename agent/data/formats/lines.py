"""Lines of instruments' text: its letters, and the blocks of numbers in it."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import Scan

HEAD = 65536  # bytes


def decode(content: bytes) -> str:
    """Return a text in UTF-8, in UTF-16 with its mark, or else in Latin-1 as Windows has it.

    Raises:
        DatasetError: If it is none of them.
    """
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if is_wide else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            return content.decode(encoding).rstrip("\x1a")  # by which DOS ends a text
        except UnicodeDecodeError:
            continue
    raise DatasetError("It is no whole UTF-16 text. Wait until it is written, or export the scan as text in UTF-8.")


def head_of(content: bytes) -> str:
    """Return the first letters of a text, by which its format is known; what is none of its encoding is replaced."""
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content[:HEAD].decode("utf-16" if is_wide else "utf-8-sig", errors="replace")


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

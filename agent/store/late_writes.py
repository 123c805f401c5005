"""The write-ahead log beside a store: what was committed last, and whether it is as it was written.

SQLite takes a log over up to its first frame that isn't whole, and drops the rest without a word. After a power cut
that is right, as each transaction is on the disk before the next begins: at most the last can be half there. Where two
or more end behind such a frame, the log was harmed. The format is https://www.sqlite.org/fileformat2.html, section 4.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt32

PAGE = 4096  # bytes; SQLite's default, which no glassmap ever changed
_HEADER, _FRAME_HEADER = 32, 24  # bytes
_STEPS = (8 + PAGE) // 8  # of the checksum of a frame, two words each
_HALF_THERE = 1  # transactions that a power cut may leave behind a frame that isn't whole

Words = UInt32[np.ndarray, "f w"]  # a row a frame


class LateWrites(NamedTuple):
    """What a log holds."""

    pages: dict[int, bytes]  # the last of each that was committed, by number
    dropped: (
        int  # transactions that SQLite drops though they had been committed; then their pages are among those above
    )


def read_late_writes(store: Path) -> LateWrites:
    """Read the log beside a store; of nothing where there is none."""
    try:
        content = store.with_name(f"{store.name}-wal").read_bytes()
    except OSError:  # there is none, or SQLite says why it can't be read
        content = b""
    count = (len(content) - _HEADER) // (_FRAME_HEADER + PAGE)
    if count < 1:
        return LateWrites({}, 0)
    frames = np.frombuffer(content, np.uint8, count * (_FRAME_HEADER + PAGE), _HEADER).reshape(count, -1)
    heads = np.ascontiguousarray(frames[:, :_FRAME_HEADER]).view(">u4").astype(np.uint32)
    salts = np.frombuffer(content, ">u4", 2, 16)
    if not _is_whole_header(content):
        salts = heads[min(1, count - 1), 2:4]  # the first may be harmed with it
    is_whole = _are_whole(frames, heads, content) & (heads[:, 2:4] == salts).all(axis=1)
    ends = np.flatnonzero(is_whole & (heads[:, 1] > 0))
    first_harmed = 0 if not _is_whole_header(content) else int(np.argmin(np.append(is_whole, False)))
    dropped = int((ends > first_harmed).sum())
    if dropped <= _HALF_THERE:
        dropped, ends = 0, ends[ends < first_harmed]
    last = ends[-1] if len(ends) else -1
    pages = {int(heads[k, 0]): frames[k, _FRAME_HEADER:].tobytes() for k in np.flatnonzero(is_whole[: last + 1])}
    return LateWrites(pages, dropped)


def _is_whole_header(content: bytes) -> bool:
    words = np.frombuffer(content, _order(content), 6).astype(np.uint32)[None]
    stored = np.frombuffer(content, ">u4", 2, 24)
    magic = int.from_bytes(content[:4], "big")
    return magic | 1 == 0x377F0683 and bool((_sums(words, np.zeros((1, 2), np.uint32)) == stored).all())


def _are_whole(frames: np.ndarray, heads: Words, content: bytes) -> Bool[np.ndarray, " f"]:
    """Return which frames fit their checksums, each of which begins with that of the frame before."""
    before = np.vstack([np.frombuffer(content, ">u4", 2, 24).astype(np.uint32), heads[:-1, 4:6]])
    summed = np.ascontiguousarray(np.delete(frames, np.s_[8:_FRAME_HEADER], axis=1))
    return (_sums(summed.view(_order(content)).astype(np.uint32), before) == heads[:, 4:6]).all(axis=1)


def _order(content: bytes) -> str:
    return ">u4" if content[3] & 1 else "<u4"


def _sums(words: Words, before: UInt32[np.ndarray, "f 2"]) -> UInt32[np.ndarray, "f 2"]:
    """Return SQLite's checksums: `a += x + b; b += y + a` for two words at a time, which is linear, modulo 2^32."""
    steps = words.shape[1] // 2
    weights = np.empty((steps + 1, 2, 2), np.uint32)
    weights[steps] = np.eye(2, dtype=np.uint32)
    for step in range(steps, 0, -1):
        weights[step - 1] = weights[step] @ np.array([[1, 1], [1, 2]], np.uint32)
    x, y = words[:, ::2], words[:, 1::2]
    return before @ weights[0].T + x @ weights[1:, :, 0] + (x + y) @ weights[1:, :, 1]

"""The rows of a SQLite file as its pages hold them, whatever became of the trees: for stores that SQLite refuses.

The format is https://www.sqlite.org/fileformat2.html: rows stand as records in the leaves of trees (those of tables
without rowids in the inner pages too), long ones go on in a chain of overflow pages, and what was committed last may
still lie in the write-ahead log beside the file. What can't be read is left out; nothing raises because of damage.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from glassmap.agent.store.late_writes import PAGE, read_late_writes

Value = None | int | float | str | bytes

TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value, by serial type


class StoredRow(NamedTuple):
    """A row as a page holds it; an INTEGER PRIMARY KEY is None among its values, and its rowid."""

    tree: str | None  # the table or index whose tree leads to its page; None where none does
    row: int | None  # its rowid; None of an index, or a table without rowids
    values: tuple[Value, ...]


class StoreFile:
    """A SQLite file, as its pages hold it.

    Args:
        path: Of the file; its write-ahead log is beside it, called the same and `-wal`.
    """

    def __init__(self, path: Path) -> None:
        self._pages = _Pages(path)
        self._trees = dict[int, str]()
        self.torn = set[str]()  # trees of which some pages can't be reached
        self._walk(1, "sqlite_schema")
        of_schema = list(self._trees) if not self.torn else range(1, self._pages.count + 1)
        for root, name in {root: name for number in of_schema for root, name in self._roots_on(number)}.items():
            self._walk(root, name)

    def rows(self) -> Iterator[StoredRow]:
        """Yield every row that the file still holds, of rows that were deleted those on pages without a tree too."""
        for number in range(1, self._pages.count + 1):
            for row, values in _cells(self._pages, number):
                yield StoredRow(self._trees.get(number), row, values)

    def has(self, tree: str) -> bool:
        """Return whether all of a table's or index's tree can be reached."""
        return tree in self._trees.values() and tree not in self.torn

    def _roots_on(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield root and name of the tables and indices that rows of a page tell of."""
        for _, values in _cells(self._pages, number):
            match values:
                case ("table" | "index", str(name), str(), int(root), _) if root > 1:
                    yield root, name
                case _:
                    pass

    def _walk(self, root: int, name: str) -> None:
        """Enter the pages of a tree; a page that is another's already stays so."""
        todo = [root]
        while todo:
            number = todo.pop()
            page, start = self._pages[number], 100 if number == 1 else 0
            kind = page[start] if page else 0
            if number in self._trees or kind not in (TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER):
                self.torn.add(name)
                continue
            self._trees[number] = name
            if kind in (TABLE_INNER, INDEX_INNER):
                children = (page[place : place + 4] for place in (*_places(page, start), start + 8))
                todo += (int.from_bytes(child, "big") for child in children)


class _Pages:
    """The pages of a file by their numbers, from 1; those of the write-ahead log in place of the file's."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._newer = read_late_writes(path).pages
        self.count = max(-(-len(self._content) // PAGE), *self._newer, 0)

    def __getitem__(self, number: int) -> bytes:
        """Return a page, filled up with zeros where the file was cut; empty where there is none."""
        if not 1 <= number <= self.count:
            return b""
        page = self._newer.get(number) or self._content[(number - 1) * PAGE : number * PAGE]
        return page.ljust(PAGE, b"\0")


def _places(page: bytes, start: int) -> Iterator[int]:
    """Yield where the cells of a page begin."""
    head = 12 if page[start] in (TABLE_INNER, INDEX_INNER) else 8
    count = min(int.from_bytes(page[start + 3 : start + 5], "big"), (PAGE - start - head) // 2)
    for place in range(start + head, start + head + 2 * count, 2):
        yield int.from_bytes(page[place : place + 2], "big")


def _cells(pages: _Pages, number: int) -> Iterator[tuple[int | None, tuple[Value, ...]]]:
    """Yield rowid and values of every row on a page that can be read."""
    page, start = pages[number], 100 if number == 1 else 0
    kind = page[start]
    if kind not in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
        return
    for place in _places(page, start):
        try:
            place += 4 if kind == INDEX_INNER else 0  # the number of a page
            size, place = _varint(page, place)
            row = None
            if kind == TABLE_LEAF:
                row, place = _varint(page, place)
                row -= 1 << 64 if row >= 1 << 63 else 0
            yield row, _record(_payload(pages, page, place, size, is_table=kind == TABLE_LEAF))
        except (IndexError, ValueError, struct.error):
            continue


def _payload(pages: _Pages, page: bytes, place: int, size: int, *, is_table: bool) -> bytes:
    """Return a row's record, with what of it lies on overflow pages.

    Raises:
        ValueError: If it goes on where nothing is.
    """
    most = PAGE - 35 if is_table else (PAGE - 12) * 64 // 255 - 23
    if size <= most:
        return page[place : place + size]
    least = (PAGE - 12) * 32 // 255 - 23
    here = least + (size - least) % (PAGE - 4)
    here = here if here <= most else least
    parts, left, following = [page[place : place + here]], size - here, page[place + here : place + here + 4]
    while left > 0:
        if not (other := pages[int.from_bytes(following, "big")]):
            raise ValueError("an overflow chain breaks off")
        parts.append(other[4 : 4 + left])
        left, following = left - (PAGE - 4), other[:4]
    return b"".join(parts)


def _record(record: bytes) -> tuple[Value, ...]:
    """Return the values of a record; text that is none any more as bytes.

    Raises:
        ValueError: If it is cut off or of no known type.
        IndexError: If its header is.
    """
    head, place = _varint(record, 0)
    types = list[int]()
    while place < head:
        kind, place = _varint(record, place)
        types.append(kind)
    values = list[Value]()
    for kind in types:
        if kind in (10, 11):
            raise ValueError(f"serial type {kind}")
        size = _SIZES[kind] if kind < 10 else (kind - 12) // 2
        content = record[place : place + size]
        place += size
        if len(content) != size:
            raise ValueError("a record breaks off")
        values.append(_value(kind, content))
    return tuple(values)


def _value(kind: int, content: bytes) -> Value:
    if kind == 0:
        return None
    if kind == 7:
        return float(struct.unpack(">d", content)[0])
    if kind in (8, 9):
        return kind - 8
    if kind < 7:
        return int.from_bytes(content, "big", signed=True)
    if kind % 2 == 0:
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes, and where it ends."""
    value = 0
    for k in range(8):
        byte = content[place + k]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + k + 1
    return value << 8 | content[place + 8], place + 9

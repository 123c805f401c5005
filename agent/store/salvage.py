"""A new store out of what a damaged one still holds: every row that its checksum proves, or that can be put together.

A harmed row is put together from what is left of it, from the copy of the store, and, a spectrum, from who measured it;
its checksum says when it is right again. Where nothing fits, an older version of it is taken from the copy, and that is
said; what isn't there either is lost.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from glassmap.agent.errors import StoreError
from glassmap.agent.shapes import Spectrum
from glassmap.agent.store import checksums, schema
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.leaf_pages import StoredRow, StoreFile, Value
from glassmap.agent.store.measurements import measurement_of
from glassmap.agent.store.records import Measurement

TRIES = 20_000  # ways to put one row together
_TYPES = {"TEXT": str, "INTEGER": int, "REAL": float, "BLOB": bytes}
_MIGRATIONS = "_sqlite_migrations"

Recall = Callable[[CampaignStore, Measurement], Spectrum | None]
Key = tuple[str, int]  # a table and a rowid
Row = tuple[Value, ...]


class Lost(NamedTuple):
    """A row that can't be had any more."""

    table: str
    name: str  # its key, as far as it is known

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.table} {self.name}"


@dataclass
class Salvaged:
    """What became of the rows of a damaged store, by their names; such as `spectra r003-07`."""

    taken: int = 0  # rows that were as they had been written
    mended: list[str] = field(default_factory=list[str])
    older: list[str] = field(default_factory=list[str])  # as they were when the copy was made
    unproven: list[str] = field(default_factory=list[str])  # taken as they are, as their checksums were harmed
    lost: list[Lost] = field(default_factory=list[Lost])


def salvage(
    damaged: Path,
    target: Path,
    *,
    copy: Path | None,
    recall: Recall,
    settle: Callable[[CampaignStore, Salvaged], None],
) -> Salvaged:
    """Write a new store with all that can be had of a damaged one.

    Args:
        damaged: The store; its write-ahead log lies beside it.
        target: No file yet.
        copy: An earlier copy of the store, if there is one.
        recall: Asks who measured for a spectrum again; the store that it is given has the rows that were proven.
        settle: Has the new store make sense without what is lost, within the transaction that fills it.

    Raises:
        StoreError: If a later glassmap wrote the store, or one so early that its rows have no checksums.
    """
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        file, earlier = StoreFile(damaged), None if copy is None else StoreFile(copy)
        sums = _checksums(file)
        of_copy = {} if earlier is None or file.has(checksums.TABLE) else _checksums(earlier)
        if not (sums or of_copy):
            raise StoreError(
                f"Nothing of {damaged} can be proven: its checksums are gone, or an earlier glassmap wrote it, which "
                "kept none. Restore it from a backup."
            )
        schema.migrate(db, stop_before=_version_after(file, of_copy | sums, damaged))
        db.execute("BEGIN IMMEDIATE")
        salvaging = _Salvaging(db, of_copy | sums, _indexed(file, _indices(db)))
        salvaging.take_proven(file)
        salvaging.mend({} if earlier is None else salvaging.rows_of(earlier), recall, damaged.parent)
        settle(CampaignStore(db, damaged.parent), salvaging.result)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode=WAL")
        return salvaging.result


def _checksums(file: StoreFile) -> dict[Key, bytes | None]:
    """Return the checksums that a store holds, None where one is harmed."""
    sums, strays = dict[Key, bytes | None](), dict[Key, bytes | None]()
    for tree, _, values in file.rows():
        match values:
            case (str(table), int(row), bytes(sum_)) if checksums.is_whole(table, row, sum_):
                (strays if tree is None else sums)[table, row] = sum_
            case (str(table), int(row), _) if tree == checksums.TABLE:
                sums[table, row] = None
            case _:
                pass
    return strays | sums


def _indexed(file: StoreFile, columns_of: Mapping[str, tuple[str, list[str]]]) -> dict[Key, dict[str, Value]]:
    """Return what the indices of a store say of its rows, by column.

    Args:
        file: The store.
        columns_of: Table and columns of each index.
    """
    found = defaultdict[Key, dict[str, Value]](dict)
    for tree, _, values in file.rows():
        if tree is not None and tree in columns_of and len(values) > 1 and isinstance(row := values[-1], int):
            table, columns = columns_of[tree]
            found[table, row].update(zip(columns, values[:-1], strict=False))
    return found


def _indices(db: sqlite3.Connection) -> dict[str, tuple[str, list[str]]]:
    """Return table and columns of each index of a store, but for those of expressions."""
    found = dict[str, tuple[str, list[str]]]()
    for index, table in db.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'").fetchall():
        columns = [name for (name,) in db.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", [index])]
        if None not in columns:
            found[index] = table, columns
    return found


def _version_after(file: StoreFile, sums: Mapping[Key, bytes | None], path: Path) -> str | None:
    """Return the migration that a store hasn't seen; None where it is of this version.

    Raises:
        StoreError: If it has seen one that this glassmap doesn't know.
    """
    known = list(schema.MIGRATIONS)
    last = known.index("row_checksums")  # which it has, whatever became of the rows that say so
    for _, row, values in file.rows():
        if row is None or len(values) != 4 or (sum_ := sums.get((_MIGRATIONS, row))) is None:
            continue
        if checksums.checksum(_MIGRATIONS, row, (row, *values[1:])) != sum_:
            continue
        if (name := str(values[2])) not in known:
            raise StoreError(f"{path} was written by a later glassmap ({name}). Update glassmap to repair it.")
        last = max(last, known.index(name))
    return known[last + 1] if last < len(known) - 1 else None


class _Table(NamedTuple):
    """What the rows of a table look like."""

    columns: tuple[str, ...]
    types: tuple[type | None, ...]
    defaults: Row
    key: int | None  # place of the column that is the rowid, if one is
    names: tuple[str, ...]  # columns that people know a row by

    @classmethod
    def of(cls, db: sqlite3.Connection, name: str) -> "_Table":
        """Look at a table of a store."""
        query = "SELECT name, type, dflt_value, pk FROM pragma_table_info(?) ORDER BY cid"
        names, types, defaults, keys = zip(*db.execute(query, [name]), strict=True)
        primary = sorted((place for place, key in enumerate(keys) if key), key=lambda place: keys[place])
        is_rowid = len(primary) == 1 and types[primary[0]] == "INTEGER"
        return cls(
            names,
            tuple(_TYPES.get(type_) for type_ in types),
            tuple(None if text is None else db.execute(f"SELECT {text}").fetchone()[0] for text in defaults),
            primary[0] if is_rowid else None,
            () if is_rowid else tuple(names[place] for place in primary),
        )

    def row(self, number: int, values: Row) -> Row | None:
        """Return a record's values as SQLite gives them; None where it is no row of this table."""
        if len(values) > len(self.columns):
            return None
        full = [*values, *self.defaults[len(values) :]]
        if self.key is not None:
            full[self.key] = number
        for place, (value, type_) in enumerate(zip(full, self.types, strict=True)):
            if type_ is float and isinstance(value, int):
                full[place] = float(value)  # as which SQLite keeps whole numbers
        return tuple(full)

    def fits(self, row: Row) -> bool:
        """Return whether every value is of its column's type."""
        pairs = zip(row, self.types, strict=True)
        return all(value is None or type_ is None or isinstance(value, type_) for value, type_ in pairs)

    def ways(self, options: list[Row], spectra: Iterable[Value]) -> Iterator[Row]:
        """Yield the rows that can be put together, a column from each source."""
        choices = [list(dict.fromkeys(column)) for column in zip(*options, strict=True)]
        if choices and "intensity" in self.columns:
            choices[self.columns.index("intensity")] += spectra
        if prod(map(len, choices)) <= TRIES:
            yield from product(*choices)
        else:
            yield from options


class _Salvaging:
    """Rows on their way into a new store."""

    def __init__(
        self,
        db: sqlite3.Connection,
        sums: Mapping[Key, bytes | None],
        indexed: Mapping[Key, dict[str, Value]],
    ) -> None:
        self._db, self._indexed, self.result = db, indexed, Salvaged()
        self._tables = {name: _Table.of(db, name) for name in checksums.tables(db) if name != _MIGRATIONS}
        for name in self._tables:
            db.execute(f'DELETE FROM "{name}"')
        self._sums = {key: sum_ for key, sum_ in sums.items() if key[0] in self._tables}
        self._taken = set[Key]()
        self._rest = list[tuple[StoredRow, int]]()  # that fit no checksum, and their rowids

    def take_proven(self, file: StoreFile) -> None:
        """Take every row that is as it was written."""
        tables_with = defaultdict[int, list[str]](list)
        for table, row in self._sums:
            tables_with[row].append(table)
        for stored in file.rows():
            if stored.row is None:
                continue
            likely = [stored.tree] if stored.tree in self._tables else []
            for table in (*likely, *tables_with.get(stored.row, ())):
                row = self._tables[table].row(stored.row, stored.values)
                if row is not None and self._proves(table, stored.row, row):
                    if (table, stored.row) not in self._taken and self._take(table, stored.row, row):
                        self.result.taken += 1
                    break
            else:
                if stored.tree is None or stored.tree in self._tables:
                    self._rest.append((stored, stored.row))

    def rows_of(self, copy: StoreFile) -> dict[Key, Row]:
        """Return what a copy proves of the rows that aren't here yet."""
        sums, found = _checksums(copy), dict[Key, Row]()
        for tree, number, values in copy.rows():
            if number is None or tree is None or tree not in self._tables or (tree, number) in self._taken:
                continue
            row = self._tables[tree].row(number, values)
            if row is not None and sums.get((tree, number)) == checksums.checksum(tree, number, row):
                found[tree, number] = row
        return found

    def mend(self, earlier: Mapping[Key, Row], recall: Recall, folder: Path) -> None:
        """Put together what is harmed; spectra last, as who measured them asks for what was to be measured."""
        missing = [key for key, sum_ in self._sums.items() if sum_ is not None and key not in self._taken]
        for key in sorted(missing, key=lambda key: (key[0] == "spectra", key)):
            options = [*self._left_of(key), *([earlier[key]] if key in earlier else [])]
            options += [known for row in options for known in self._known_of(key, row)]
            mended = self._put_together(key, options)
            if mended is None and key[0] == "spectra":
                mended = self._put_together(key, options, self._recalled(options, recall, folder))
            said = Lost(key[0], self._name(key, options))
            if mended is not None and self._take(*key, mended):
                self.result.mended.append(str(said))
            elif key in earlier and self._take(*key, earlier[key]):
                self.result.older.append(str(said))
            else:
                self.result.lost.append(said)
        self._take_unproven(earlier, believes_them=not missing)

    def _proves(self, table: str, number: int, row: Row) -> bool:
        sum_ = self._sums.get((table, number))
        return sum_ is not None and checksums.checksum(table, number, row) == sum_

    def _take(self, table: str, number: int, row: Row) -> bool:
        """Write a row; False where the table takes none such, or has it already."""
        shape = self._tables[table]
        names = ["rowid", *(f'"{name}"' for place, name in enumerate(shape.columns) if place != shape.key)]
        values = [number, *(value for place, value in enumerate(row) if place != shape.key)]
        places = ", ".join("?" * len(values))
        try:
            self._db.execute(f'INSERT INTO "{table}" ({", ".join(names)}) VALUES ({places})', values)
        except (sqlite3.IntegrityError, OverflowError):
            return False
        self._taken.add((table, number))
        return True

    def _left_of(self, key: Key) -> Iterator[Row]:
        """Yield what may be left of a row: under its number, or of its table under a number that is nobody's."""
        table, number = key
        for stored, its_number in self._rest:
            is_it = its_number == number and stored.tree in (None, table)
            is_stray = stored.tree == table and (table, its_number) not in self._sums
            if (is_it or is_stray) and (row := self._tables[table].row(number, stored.values)) is not None:
                yield row

    def _put_together(self, key: Key, options: list[Row], spectra: Iterable[Value] = ()) -> Row | None:
        ways = self._tables[key[0]].ways(options, spectra)
        return next((row for row in ways if self._proves(*key, row)), None)

    def _known_of(self, key: Key, row: Row) -> Iterator[Row]:
        """Yield what is left of a row with what the indices say of it; a measurement, with what was asked for too."""
        columns = self._tables[key[0]].columns
        values = dict(zip(columns, row, strict=True)) | self._indexed.get(key, {})
        yield tuple(values[name] for name in columns)
        if key[0] == "spectra":
            query = "SELECT round, hold_out, composition FROM suggestions WHERE id = ?"
            if (asked := self._db.execute(query, [values["suggestion"]]).fetchone()) is not None:
                values |= dict(zip(("round", "hold_out", "composition"), asked, strict=True))
                yield tuple(values[name] for name in columns)

    def _recalled(self, options: Iterable[Row], recall: Recall, folder: Path) -> Iterator[Value]:
        """Ask who measured for the spectrum of a row, by what is left of it."""
        shape, store = self._tables["spectra"], CampaignStore(self._db, folder)
        for row in options:
            values: dict[str, Any] = dict(zip(shape.columns, row, strict=True))
            try:
                measurement = measurement_of({name: values[name] for name in Measurement._fields})
                spectrum = recall(store, measurement)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError):  # what is left says too little
                continue
            if spectrum is not None:
                yield spectrum.astype("<f4").tobytes()

    def _take_unproven(self, earlier: Mapping[Key, Row], *, believes_them: bool) -> None:
        """Take rows whose checksums are harmed where the copy has the same, or if nothing but checksums is harmed."""
        for stored, number in self._rest:
            if stored.tree is None or (key := (stored.tree, number)) in self._taken or self._sums.get(key):
                continue
            row = self._tables[stored.tree].row(number, stored.values)
            if row is None or not (earlier.get(key) == row or (believes_them and self._tables[stored.tree].fits(row))):
                continue
            if self._take(*key, row) and earlier.get(key) != row:
                self.result.unproven.append(f"{stored.tree} {self._name(key, [row])}")
        for key, sum_ in self._sums.items():
            if sum_ is None and key not in self._taken:
                self.result.lost.append(Lost(key[0], self._name(key, [])))

    def _name(self, key: Key, options: list[Row]) -> str:
        """Return what people call a row, as far as that is known."""
        table, number = key
        shape = self._tables[table]
        known = [self._indexed.get(key, {}), *(dict(zip(shape.columns, row, strict=True)) for row in reversed(options))]
        for values in known:
            if shape.names and all(name in values for name in shape.names):
                return " ".join(str(values[name]) for name in shape.names)
        return f"row {number}"

"""A checksum of every row, kept by triggers, so that each row that changed, went or came by no statement is found.

SQLite's own check (`PRAGMA integrity_check`) sees a broken tree of pages, but not another digit in a number. Beside a
row stands here what its columns hashed to when it was written, beside the schema what its text did. A checksum holds 8
bytes of BLAKE2b and a CRC-32 of its own: one that was harmed accuses no row.
"""

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

TABLE = "checksums"
SCHEMA = "sqlite_schema"
_FUNCTION = "row_checksum"
_TRIGGER = "checksum_of"
_NO_HARM = frozenset(  # what SQLite reports of a store that may be whole
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
    }
)

REPORTED = (sqlite3.DatabaseError, UnicodeDecodeError)  # what reading a store raises; see `is_harm`
Value = int | float | str | bytes | None


class Harm(NamedTuple):
    """A row that isn't as it was written; of a table or the schema as a whole where `row` is None."""

    table: str
    row: int | None  # its rowid
    what: str  # `changed`, `lost`, `foreign`, `unproven` (its checksum is harmed, it may be right) or SQLite's words
    name: str = ""  # what people call it: its key, as far as it can be read

    def __str__(self) -> str:
        """Say it in words."""
        whose = self.table if self.row is None else f"{self.table} {self.name or f'row {self.row}'}"
        return f"{whose}: {self.what}"


def register(db: sqlite3.Connection) -> None:
    """Have a connection keep the checksums of what it writes; without, it can read but not write.

    `INSERT OR REPLACE` is followed too.
    """
    db.create_function(_FUNCTION, -1, _row_checksum, deterministic=True)
    db.execute("PRAGMA recursive_triggers=ON")


def is_covered(db: sqlite3.Connection) -> bool:
    """Return whether a store has checksums, or ought to; older versions had none."""
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if TABLE in names:
        return True
    if "_sqlite_migrations" not in names:
        return False
    return db.execute("SELECT 1 FROM _sqlite_migrations WHERE name = 'row_checksums'").fetchone() is not None


def tables(db: sqlite3.Connection) -> list[str]:
    """Return the tables with content."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> ?"
    return [name for (name,) in db.execute(f"{query} ORDER BY name", [TABLE])]


def cover(db: sqlite3.Connection) -> None:
    """Keep checksums of all tables, as they are now; call within the transaction that changed the schema.

    Tables whose columns are as they were keep the checksums that they have.
    """
    covered = tables(db)
    for table in covered:
        wanted = _triggers(db, table)
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? AND name LIKE ?"
        found = dict(db.execute(query, [table, f"{_TRIGGER}%"]).fetchall())
        if found == wanted:
            continue
        for name in found:
            db.execute(f'DROP TRIGGER "{name}"')
        for statement in wanted.values():
            db.execute(statement)
        db.execute(f"DELETE FROM {TABLE} WHERE tbl = ?", [table])
        db.execute(f'INSERT INTO {TABLE} SELECT ?, rowid, {_expression(db, table)} FROM "{table}"', [table])
    places = ", ".join("?" * len(covered))
    db.execute(f"DELETE FROM {TABLE} WHERE tbl NOT IN ({places})", covered)
    db.execute(f"INSERT INTO {TABLE} VALUES (?, 0, ?)", [SCHEMA, _schema_checksum(db)])


def harmed_rows(
    db: sqlite3.Connection, only: Sequence[str] | None = None, *, rows: Sequence[int] | None = None
) -> list[Harm]:
    """Return every row that isn't as it was written, as far as the store has checksums.

    Reads what can be read, row by row where a table can't be read at once, and raises nothing because of harm.

    Args:
        db: On which `register` was called.
        only: The tables to look at; all and the schema by default.
        rows: Only these rowids.
    """
    with _snapshot(db):
        return _harmed_rows(db, only, rows)


def checksum(table: str, row: int, values: Sequence[Value]) -> bytes:
    """Return the checksum, 12 bytes, of a row.

    Args:
        table: That it is of.
        row: Its rowid.
        values: All columns in the table's order, as SQLite gives them: a REAL as a float, text as `str`.
    """
    types = {type(None): "null", int: "integer", float: "real", str: "text", bytes: "blob"}
    plain = (value.encode() if isinstance(value, str) else value for value in values)
    return _row_checksum(table, row, ",".join(types[type(value)] for value in values), *plain)


def is_harm(error: sqlite3.DatabaseError | UnicodeDecodeError) -> bool:
    """Return whether SQLite reports harm, and not that somebody else holds the store, the disk is full or the like.

    Where it quotes what was harmed, its words can't even be decoded.
    """
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return not isinstance(error, sqlite3.ProgrammingError) and (code is None or code & 0xFF not in _NO_HARM)


def words_of(error: sqlite3.DatabaseError | UnicodeDecodeError) -> str:
    """Return what SQLite reports, in a line."""
    text = error.object.decode(errors="backslashreplace") if isinstance(error, UnicodeDecodeError) else str(error)
    return " ".join(text.split())


def recorded_checksum(db: sqlite3.Connection, table: str, row: int) -> bytes | None:
    """Return the checksum that was recorded of a row; None where there is none, or it is harmed itself."""
    found = db.execute(f"SELECT sum FROM {TABLE} WHERE tbl = ? AND row = ?", [table, row]).fetchone()
    return found[0] if found is not None and is_whole(table, row, found[0]) else None


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Generator[None]:
    """Have rows and checksums be of the same moment, whoever writes."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _harmed_rows(db: sqlite3.Connection, only: Sequence[str] | None, rows: Sequence[int] | None) -> list[Harm]:
    try:
        if not is_covered(db):
            return []
        harms: list[Harm] = []
        if only is None:
            if (found := _recorded(db, SCHEMA)).get(0) != _schema_checksum(db):
                harms.append(Harm(SCHEMA, None, "changed" if found else "its checksum is lost"))
            only = tables(db)
    except REPORTED as error:
        if not is_harm(error):
            raise
        return [Harm(SCHEMA, None, words_of(error))]
    for table in only:
        try:
            harms += _harmed_at_once(db, table, rows)
        except REPORTED as error:
            if not is_harm(error):
                raise
            harms += _harmed_one_by_one(db, table, rows)
    return harms


def _row_checksum(table: str, row: int, types: str, *values: Value) -> bytes:
    """Hash a row's values, text as bytes; the types tell them apart."""
    parts = [value if isinstance(value, bytes) else repr(value).encode() for value in values]
    lengths = repr([len(part) for part in parts])
    digest = blake2b(b"".join((f"{types} {lengths}".encode(), *parts)), digest_size=8).digest()
    return digest + _check(table, row, digest)


def _check(table: str, row: int, digest: bytes) -> bytes:
    return crc32(f"{table} {row}".encode() + digest).to_bytes(4)


def is_whole(table: str, row: int, sum_: object) -> bool:
    """Return whether a checksum of a row is one, by its own."""
    return isinstance(sum_, bytes) and sum_[8:] == _check(table, row, sum_[:8])


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?) ORDER BY cid", [table])]


def _expression(db: sqlite3.Connection, table: str, row: str = "") -> str:
    """Return the SQL that hashes a row of a table, or within a trigger `NEW`.

    Text goes in as bytes: what was harmed need not be text any more.
    """
    names = [f'{row}"{name}"' for name in _columns(db, table)]
    types = " || ',' || ".join(f"typeof({name})" for name in names)
    values = ", ".join(f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END" for name in names)
    return f"{_FUNCTION}('{table}', {row}rowid, {types}, {values})"


def _triggers(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return the triggers, by name, that keep the checksums of a table."""
    forget = f"DELETE FROM {TABLE} WHERE tbl = '{table}' AND row = "  # no REPLACE: the outer statement's would hold
    remember = f"INSERT INTO {TABLE} VALUES ('{table}', NEW.rowid, {_expression(db, table, 'NEW.')})"
    steps = {
        "insert": f"{forget}NEW.rowid; {remember};",
        "update": f"{forget}OLD.rowid; {forget}NEW.rowid; {remember};",
        "delete": f"{forget}OLD.rowid;",
    }
    return {
        f"{_TRIGGER}_{table}_{event}": f'CREATE TRIGGER {_TRIGGER}_{table}_{event} AFTER {event.upper()} ON "{table}" '
        f"BEGIN {step} END"
        for event, step in steps.items()
    }


def _schema_checksum(db: sqlite3.Connection) -> bytes:
    """Hash the text of every table, index and trigger."""
    parts = ", ".join(f"CAST({name} AS BLOB)" for name in ("type", "name", "tbl_name", "sql"))
    query = "SELECT {} FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    values = [value for row in sorted(db.execute(query.format(parts)), key=repr) for value in row]
    return _row_checksum(SCHEMA, 0, "schema", *values)


def _recorded(db: sqlite3.Connection, table: str, rows: Sequence[int] | None = None) -> dict[int, Any]:
    """Return the checksums of a table's rows, or of some."""
    if rows is None:
        query = f"SELECT row, sum FROM {TABLE} WHERE tbl = ? AND typeof(row) = 'integer'"
        return dict(db.execute(query, [table]).fetchall())
    query = f"SELECT sum FROM {TABLE} WHERE tbl = ? AND row = ?"
    found = ((row, db.execute(query, [table, row]).fetchone()) for row in rows)
    return {row: sum_[0] for row, sum_ in found if sum_ is not None}


def _harmed_at_once(db: sqlite3.Connection, table: str, rows: Sequence[int] | None) -> Iterator[Harm]:
    expected = _recorded(db, table, rows)
    query = f'SELECT rowid, {_expression(db, table)} FROM "{table}" NOT INDEXED'
    if rows is None:
        found = dict(db.execute(query).fetchall())
    else:
        found = dict(one for row in rows for one in db.execute(f"{query} WHERE rowid = ?", [row]))
    return _differences(db, table, expected, found)


def _harmed_one_by_one(db: sqlite3.Connection, table: str, rows: Sequence[int] | None) -> list[Harm]:
    """Ask for every row that was recorded, so that a harmed page takes no other's rows with it."""
    try:
        expected = _recorded(db, table, rows)
        query = f'SELECT rowid, {_expression(db, table)} FROM "{table}" NOT INDEXED WHERE rowid = ?'
    except REPORTED as error:
        return [Harm(table, None, f"can't be checked: {words_of(error)}")]
    found: dict[int, bytes] = {}
    harms: list[Harm] = []
    for row in expected:
        try:
            found.update(db.execute(query, [row]).fetchall())
        except REPORTED as error:
            harms.append(Harm(table, row, words_of(error)))
    unread = {harm.row for harm in harms}
    known = {row: sum_ for row, sum_ in expected.items() if row not in unread}
    return harms + list(_differences(db, table, known, found))


def _differences(
    db: sqlite3.Connection, table: str, expected: dict[int, Any], found: dict[int, bytes]
) -> Iterator[Harm]:
    if expected == found:
        return
    for row in sorted(expected.keys() | found.keys()):
        recorded, is_ = expected.get(row), found.get(row)
        if recorded == is_:
            continue
        if recorded is not None and not is_whole(table, row, recorded):
            what = "unproven"
        else:
            what = "foreign" if recorded is None else "lost" if is_ is None else "changed"
        yield Harm(table, row, what, "" if is_ is None else _name(db, table, row))


def _name(db: sqlite3.Connection, table: str, row: int) -> str:
    """Return a row's key, as far as it can be read."""
    query = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk"
    keys = [f'CAST("{name}" AS BLOB)' for (name,) in db.execute(query, [table])]
    try:
        values = db.execute(f'SELECT {", ".join(keys)} FROM "{table}" NOT INDEXED WHERE rowid = ?', [row]).fetchone()
    except REPORTED:
        return ""
    return " ".join(bytes(value or b"").decode(errors="backslashreplace") for value in values or ())

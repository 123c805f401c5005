"""Which glassmap wrote a store last: recorded by whoever opens it to write, so that an earlier one can refuse it."""

import json
import re
import sqlite3
from datetime import UTC, datetime

from glassmap import __version__

EARLIER = "one of 0.2 or before"  # which didn't record it


def later_version(db: sqlite3.Connection) -> str | None:
    """Return the version that wrote a store where it is later than this one."""
    last = _last(db)
    return last if last is not None and _numbers(last) > _numbers(__version__) else None


def record_version(db: sqlite3.Connection, *, person: str) -> None:
    """Record that this version writes, and log it where another one did; of a store that is up to date."""
    if (last := _last(db)) == __version__:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("INSERT OR REPLACE INTO settings VALUES ('version', ?)", [json.dumps(__version__)])
        if db.execute("SELECT 1 FROM log").fetchone() is not None:
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            detail = f"goes on with glassmap {__version__}, after {last or EARLIER}"
            values = [time, "version", detail, person]
            db.execute("INSERT INTO log (time, event, detail, person) VALUES (?, ?, ?, ?)", values)
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _last(db: sqlite3.Connection) -> str | None:
    """Return the version that wrote a store last; None of an empty store, or where it didn't record it."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'settings'").fetchone() is None:
        return None
    row = db.execute("SELECT value FROM settings WHERE key = 'version'").fetchone()
    return None if row is None else json.loads(row[0])


def _numbers(version: str) -> list[int]:
    """Return the numbers of a version such as 0.3.0, to be compared."""
    return [int(number) for number in re.findall(r"\d+", version)]

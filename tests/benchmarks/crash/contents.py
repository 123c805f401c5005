"""All that a campaign has recorded and keeps, to hold two that should be the same against each other."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

# Columns that tell when something was done, or how often it was tried or by whom, and not what.
OTHERS = {"time", "started", "finished", "seconds", "attempts", "taken", "ordered", "approved", "updated", "began"}
OTHERS |= {"hours", "clock", "ordered_hours", "news", "tries", "told", "applied_at", "modified", "sequence", "person"}


def contents(folder: Path) -> dict[str, Any]:
    """All that a store says, without the times of it, and the orders and scans; what is logged twice is there once."""
    with closing(sqlite3.connect(folder / "campaign.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, Any] = {}
        for table in sorted({*tables} - {"checksums"}):
            columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})") if name not in OTHERS]
            rows = db.execute(f"SELECT {', '.join(columns)} FROM {table}")
            found[table] = sorted({repr(row[table == "log" :]).replace(str(folder.parent), "") for row in rows})
    for path in (folder / "orders").glob("round-*.csv"):
        found[path.name] = path.read_bytes()
    for path in (folder / "scans").glob("*"):
        found[f"scan {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found

"""The tables of the campaign store, version by version. Rows are written and read by the files beside this one."""

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

from glassmap.agent.store import checksums
from glassmap.agent.store.clock import ClockReading

FILE_NAME = "campaign.db"
Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: dict[str, Migration] = {}  # by name, the oldest first; a store's version is how many it has seen


def _version(migration: Migration) -> Migration:
    """Enter what brings a store from the version before to the next; its name is recorded in the store."""
    MIGRATIONS[migration.__name__] = migration
    return migration


@_version
def first_tables(db: sqlite3.Connection) -> None:
    """The tables of version 1."""
    for statement in (
        "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE axes (
            id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, wavelength REAL, value BLOB NOT NULL) STRICT""",
        """CREATE TABLE stages (
            round INTEGER NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
            started TEXT NOT NULL, finished TEXT, error TEXT, PRIMARY KEY (round, name)) STRICT""",
        """CREATE TABLE suggestions (
            id TEXT PRIMARY KEY, round INTEGER NOT NULL, position INTEGER NOT NULL, row INTEGER NOT NULL,
            composition TEXT NOT NULL, hold_out INTEGER NOT NULL, UNIQUE (round, position)) STRICT""",
        """CREATE TABLE spectra (
            id TEXT PRIMARY KEY, suggestion TEXT NOT NULL UNIQUE REFERENCES suggestions (id),
            composition TEXT NOT NULL, intensity BLOB NOT NULL, backend TEXT NOT NULL, taken TEXT NOT NULL) STRICT""",
        """CREATE TABLE batches (
            round INTEGER PRIMARY KEY, separation REAL NOT NULL, worst REAL NOT NULL, mean REAL NOT NULL) STRICT""",
        """CREATE TABLE curve (
            round INTEGER PRIMARY KEY, spectra INTEGER NOT NULL, mse REAL NOT NULL, mse_sample REAL NOT NULL,
            q1_error REAL, delta_q_error REAL, next_batch_mse REAL) STRICT""",
        """CREATE TABLE artefacts (
            round INTEGER NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (round, kind)) STRICT""",
        """CREATE TABLE decisions (
            round INTEGER PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL, improvements TEXT NOT NULL) STRICT""",
        "CREATE TABLE log (id INTEGER PRIMARY KEY, time TEXT NOT NULL, event TEXT NOT NULL, detail TEXT) STRICT",
    ):
        db.execute(statement)


@_version
def failures_and_progress(db: sqlite3.Connection) -> None:
    """Measurements can fail for good, tell how far they are, and have more to say than a spectrum."""
    for statement in (
        "ALTER TABLE spectra ADD COLUMN facts TEXT NOT NULL DEFAULT '{}'",
        """CREATE TABLE failures (
            suggestion TEXT PRIMARY KEY REFERENCES suggestions (id),
            reason TEXT NOT NULL, time TEXT NOT NULL) STRICT""",
        """CREATE TABLE progress (
            suggestion TEXT PRIMARY KEY REFERENCES suggestions (id),
            share REAL NOT NULL, updated TEXT NOT NULL) STRICT""",
    ):
        db.execute(statement)


@_version
def laboratory(db: sqlite3.Connection) -> None:
    """Measurements that nobody asked for, repeated, doubtful or retracted; files dropped; what people decided."""
    for statement in (
        """CREATE TABLE measurements (
            id TEXT PRIMARY KEY, suggestion TEXT REFERENCES suggestions (id), round INTEGER NOT NULL,
            hold_out INTEGER NOT NULL, composition TEXT NOT NULL, intensity BLOB NOT NULL, backend TEXT NOT NULL,
            taken TEXT NOT NULL, facts TEXT NOT NULL DEFAULT '{}',
            state TEXT NOT NULL DEFAULT 'used' CHECK (state IN ('used', 'doubtful', 'retracted')),
            reason TEXT NOT NULL DEFAULT '', screened INTEGER NOT NULL DEFAULT 0) STRICT""",
        """INSERT INTO measurements (
                id, suggestion, round, hold_out, composition, intensity, backend, taken, facts, screened)
            SELECT spectra.id, suggestion, round, hold_out, spectra.composition, intensity, backend, taken, facts, 1
            FROM spectra JOIN suggestions ON suggestions.id = suggestion""",
        "DROP TABLE spectra",
        "ALTER TABLE measurements RENAME TO spectra",
        "CREATE INDEX spectra_of_a_suggestion ON spectra (suggestion)",
        "CREATE INDEX compositions_of_spectra ON spectra (composition)",  # to read them all without the spectra
        """CREATE TABLE verdicts (
            suggestion TEXT PRIMARY KEY REFERENCES suggestions (id),
            verdict TEXT NOT NULL CHECK (verdict IN ('rejected', 'abandoned', 'retracted')),
            reason TEXT NOT NULL, person TEXT NOT NULL, time TEXT NOT NULL) STRICT""",
        """CREATE TABLE files (
            id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
            hash TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('scan', 'table')),
            state TEXT NOT NULL CHECK (state IN ('used', 'waiting', 'duplicate', 'quarantined')),
            reason TEXT NOT NULL, measurement TEXT REFERENCES spectra (id), time TEXT NOT NULL,
            UNIQUE (path, size, modified)) STRICT""",
        "CREATE INDEX files_of_a_content ON files (hash)",
        """CREATE TABLE samples (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, composition TEXT NOT NULL,
            file INTEGER NOT NULL REFERENCES files (id), UNIQUE (name, file)) STRICT""",
        "ALTER TABLE batches ADD COLUMN ordered TEXT",
        "ALTER TABLE batches ADD COLUMN approved TEXT",
        "ALTER TABLE log ADD COLUMN person TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE log ADD COLUMN subject TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX log_of_a_subject ON log (subject)",
    ):
        db.execute(statement)


@_version
def contents(db: sqlite3.Connection) -> None:
    """Measurements are found by the content that they were read from."""
    db.execute("CREATE INDEX contents_of_spectra ON spectra (json_extract(facts, '$.hash'))")


@_version
def notices(db: sqlite3.Connection) -> None:
    """What people are told of."""
    db.execute(
        """CREATE TABLE notices (
            id INTEGER PRIMARY KEY, time TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL,
            tries INTEGER NOT NULL DEFAULT 0, told TEXT) STRICT"""
    )


@_version
def status_as_data(db: sqlite3.Connection) -> None:
    """What a campaign waits for, and when it began, in columns of their own; the field's words for states."""
    for statement in (
        """CREATE TABLE campaign (
            id INTEGER PRIMARY KEY CHECK (id = 1), began TEXT,
            news INTEGER NOT NULL DEFAULT 0) STRICT""",  # changes by people, files and settings, counted
        "INSERT INTO campaign (id, began, news) SELECT 1, MIN(time), 1 FROM log",  # what failed is tried once more
        "ALTER TABLE stages ADD COLUMN waiting_for TEXT",
        "ALTER TABLE stages ADD COLUMN seconds REAL NOT NULL DEFAULT 0",  # of all attempts
        "ALTER TABLE stages ADD COLUMN spectra INTEGER",  # of the campaign when it ended
        "ALTER TABLE stages ADD COLUMN news INTEGER NOT NULL DEFAULT 0",  # of the campaign when it ended
        """UPDATE stages SET error = NULL, waiting_for = CASE WHEN error IS NULL THEN 'measurements'
            WHEN error LIKE '%waits for approval%' THEN 'approval' ELSE 'other spectra' END
            WHERE status = 'waiting'""",
        """CREATE TABLE measurements (
            id TEXT PRIMARY KEY, suggestion TEXT REFERENCES suggestions (id), round INTEGER NOT NULL,
            hold_out INTEGER NOT NULL, composition TEXT NOT NULL, intensity BLOB NOT NULL, backend TEXT NOT NULL,
            taken TEXT NOT NULL, facts TEXT NOT NULL DEFAULT '{}',
            state TEXT NOT NULL DEFAULT 'used' CHECK (state IN ('used', 'flagged', 'retracted')),
            reason TEXT NOT NULL DEFAULT '', screened INTEGER NOT NULL DEFAULT 0) STRICT""",
        """INSERT INTO measurements SELECT id, suggestion, round, hold_out, composition, intensity, backend, taken,
            facts, CASE state WHEN 'doubtful' THEN 'flagged' ELSE state END, reason, screened
            FROM spectra ORDER BY rowid""",
        "DROP TABLE spectra",
        "ALTER TABLE measurements RENAME TO spectra",
        "CREATE INDEX spectra_of_a_suggestion ON spectra (suggestion)",
        "CREATE INDEX compositions_of_spectra ON spectra (composition)",
        "CREATE INDEX contents_of_spectra ON spectra (json_extract(facts, '$.hash'))",
        "CREATE INDEX states_of_spectra ON spectra (state)",  # to count them without the spectra
        "ALTER TABLE verdicts RENAME TO exclusions",
        "ALTER TABLE exclusions RENAME COLUMN verdict TO kind",
        "DELETE FROM settings WHERE value = 'null'",
    ):
        db.execute(statement)
    for (text,) in db.execute("SELECT value FROM settings WHERE key = 'paused'").fetchall():
        db.execute("UPDATE settings SET value = ? WHERE key = 'paused'", [json.dumps(_pause(json.loads(text)))])


@_version
def peak_figures(db: sqlite3.Connection) -> None:
    """The learning curve holds the error of every peak figure; the archive of spectra is called so."""
    for statement in (
        """CREATE TABLE curve_errors (
            round INTEGER NOT NULL, figure TEXT NOT NULL, error REAL, PRIMARY KEY (round, figure)) STRICT""",
        """INSERT INTO curve_errors
            SELECT round, 'delta_q', delta_q_error FROM curve UNION ALL SELECT round, 'q1', q1_error FROM curve""",
        """CREATE TABLE points (
            round INTEGER PRIMARY KEY, spectra INTEGER NOT NULL, mse REAL NOT NULL, mse_sample REAL NOT NULL,
            next_batch_mse REAL) STRICT""",
        "INSERT INTO points SELECT round, spectra, mse, mse_sample, next_batch_mse FROM curve",
        "DROP TABLE curve",
        "ALTER TABLE points RENAME TO curve",
        "UPDATE artefacts SET kind = 'archive' WHERE kind = 'atlas'",
    ):
        db.execute(statement)


@_version
def steady_clock(db: sqlite3.Connection) -> None:
    """Time is counted, whatever a clock said in the meantime; files have a sequence of their own."""
    for statement in (
        "ALTER TABLE campaign ADD COLUMN hours REAL NOT NULL DEFAULT 0",  # since it began
        "ALTER TABLE campaign ADD COLUMN clock TEXT",  # what the clocks showed when they were counted
        "ALTER TABLE batches ADD COLUMN ordered_hours REAL",  # of the campaign
        "ALTER TABLE files ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0",
        """UPDATE files SET sequence = place
            FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY time, id) AS place FROM files) AS places
            WHERE places.id = files.id""",
        """UPDATE batches SET ordered_hours = MAX(0.0,
            24 * (julianday(ordered) - julianday((SELECT began FROM campaign))))""",
        "UPDATE campaign SET hours = MAX(0.0, 24 * (julianday('now') - julianday(began))) WHERE began IS NOT NULL",
    ):
        db.execute(statement)
    db.execute("UPDATE campaign SET clock = ? WHERE began IS NOT NULL", [json.dumps(ClockReading.now())])


@_version
def row_checksums(db: sqlite3.Connection) -> None:
    """Every row has a checksum; `migrate` covers what there is."""
    db.execute(
        """CREATE TABLE checksums (
            tbl TEXT NOT NULL, row INTEGER NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (tbl, row)) STRICT, WITHOUT ROWID"""
    )


@_version
def flags_of_what_is_used(db: sqlite3.Connection) -> None:
    """What only the log said: why what is used is flagged, and what people took out or in since the last training."""
    db.execute(
        """UPDATE spectra SET reason = flag.detail
        FROM (SELECT subject, detail, MAX(id) AS id FROM log WHERE event IN ('flagged', 'doubtful') GROUP BY subject)
            AS flag
        WHERE spectra.id = flag.subject AND state = 'used' AND reason = ''
            AND NOT EXISTS (SELECT 1 FROM log WHERE event = 'accepted' AND subject = flag.subject AND id > flag.id)"""
    )
    db.execute("CREATE INDEX flags_of_used ON spectra (id) WHERE state = 'used' AND reason <> ''")
    db.execute(
        """INSERT INTO settings SELECT 'use_changed', ids FROM (SELECT json_group_array(subject) AS ids FROM (
            SELECT DISTINCT subject FROM log WHERE event IN ('retracted', 'accepted')
                AND id > (SELECT MAX(id) FROM log WHERE event IN ('trained', 'retrained')))) WHERE ids <> '[]'"""
    )


@_version
def marks_of_spectra(db: sqlite3.Connection) -> None:
    """What every round's model errs on each spectrum; the wafer of a sample; what a decision rests on."""
    for statement in (
        """CREATE TABLE marks (
            round INTEGER NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('held out', 'left out')),
            since INTEGER NOT NULL,
            spectra TEXT NOT NULL, wafers TEXT NOT NULL, measures TEXT NOT NULL, errors BLOB NOT NULL,
            PRIMARY KEY (round, kind)) STRICT""",  # since: the first round that is judged by the same spectra
        "ALTER TABLE samples ADD COLUMN wafer TEXT NOT NULL DEFAULT ''",  # that a composition table says it lies on
        "ALTER TABLE decisions ADD COLUMN trend TEXT",
        "ALTER TABLE decisions ADD COLUMN evidence TEXT NOT NULL DEFAULT '{}'",
    ):
        db.execute(statement)


@_version
def contexts_of_samples(db: sqlite3.Connection) -> None:
    """The process variables that a composition table says of a sample."""
    db.execute("ALTER TABLE samples ADD COLUMN context TEXT NOT NULL DEFAULT '{}'")


@_version
def reasons_of_suggestions(db: sqlite3.Connection) -> None:
    """Why an alloy is asked for, where not by the planning rule."""
    db.execute("ALTER TABLE suggestions ADD COLUMN why TEXT NOT NULL DEFAULT ''")


@_version
def nothing_held_out(db: sqlite3.Connection) -> None:
    """Where nothing is held out, the error of a single generated spectrum, or any, may not be known."""
    for statement in (
        """CREATE TABLE points (
            round INTEGER PRIMARY KEY, spectra INTEGER NOT NULL, mse REAL, mse_sample REAL,
            next_batch_mse REAL) STRICT""",
        "INSERT INTO points SELECT round, spectra, mse, mse_sample, next_batch_mse FROM curve",
        "DROP TABLE curve",
        "ALTER TABLE points RENAME TO curve",
    ):
        db.execute(statement)


@_version
def scans_of_files(db: sqlite3.Connection) -> None:
    """Each scan of a file has a state of its own; tables say where on a wafer a sample lies."""
    for statement in (
        """CREATE TABLE scans (
            hash TEXT NOT NULL, name TEXT NOT NULL, sample TEXT NOT NULL, x REAL, y REAL,
            state TEXT NOT NULL CHECK (state IN ('used', 'waiting', 'duplicate', 'quarantined')),
            reason TEXT NOT NULL, measurement TEXT REFERENCES spectra (id),
            matched TEXT NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (hash, name)) STRICT""",
        "CREATE INDEX waiting_scans ON scans (seen) WHERE state = 'waiting'",
        "CREATE INDEX scans_of_samples ON scans (matched)",
        "CREATE INDEX files_in_sequence ON files (sequence)",
        "CREATE INDEX states_of_files ON files (state)",
        "ALTER TABLE samples ADD COLUMN x REAL",  # mm, on the wafer
        "ALTER TABLE samples ADD COLUMN y REAL",
        "CREATE INDEX places_of_samples ON samples (x) WHERE x IS NOT NULL",
        "CREATE INDEX held_out_and_used ON spectra (round, composition) WHERE hold_out AND state = 'used'",
        "CREATE INDEX arrays_of_spectra ON spectra (json_extract(facts, '$.array'))",
    ):
        db.execute(statement)
    used = db.execute(
        """SELECT hash, path, measurement, MAX(sequence) FROM files WHERE kind = 'scan' AND state = 'used'
        GROUP BY hash ORDER BY id"""
    ).fetchall()
    for hash_, path, measurement, _ in used:  # those that wait are read once more, for what they are called
        matched = path.rpartition("/")[2].rpartition(".")[0].lower()
        values = [hash_, measurement, matched]
        db.execute("INSERT INTO scans VALUES (?, '', '', NULL, NULL, 'used', '', ?, ?, 0)", values)


@_version
def wafers(db: sqlite3.Connection) -> None:
    """Alloys lie on wafers, which exist or are to be made; what a round was planned and mapped by."""
    for statement in (
        "ALTER TABLE suggestions ADD COLUMN sample TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE suggestions ADD COLUMN wafer TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE suggestions ADD COLUMN x REAL",  # mm, on the wafer
        "ALTER TABLE suggestions ADD COLUMN y REAL",
        "CREATE INDEX suggestions_of_wafers ON suggestions (wafer, sample) WHERE wafer <> '' OR sample <> ''",
        """CREATE TABLE existing (
            wafer TEXT NOT NULL, sample TEXT NOT NULL, composition TEXT NOT NULL, x REAL, y REAL,
            PRIMARY KEY (wafer, sample)) STRICT""",  # what could be planned when the last batch was
        """CREATE TABLE wafers (
            name TEXT PRIMARY KEY, round INTEGER NOT NULL, powers TEXT NOT NULL, minutes REAL NOT NULL) STRICT""",
        """CREATE TABLE wafer_exclusions (
            wafer TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('rejected', 'failed')),
            reason TEXT NOT NULL, person TEXT NOT NULL, time TEXT NOT NULL) STRICT""",
        """CREATE TABLE wafer_gains (
            wafer TEXT PRIMARY KEY, measured INTEGER NOT NULL, points INTEGER NOT NULL, gain REAL,
            farthest_at_pct REAL, worth REAL NOT NULL, measure TEXT NOT NULL, is_enough INTEGER NOT NULL,
            model INTEGER NOT NULL, next TEXT NOT NULL) STRICT""",  # of measuring the rest
        """CREATE TABLE plans (
            since INTEGER PRIMARY KEY, space TEXT NOT NULL, planning TEXT NOT NULL) STRICT""",  # from a round on
        """CREATE TABLE samples_of_wafers (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, composition TEXT NOT NULL,
            file INTEGER NOT NULL REFERENCES files (id), wafer TEXT NOT NULL DEFAULT '',
            context TEXT NOT NULL DEFAULT '{}', x REAL, y REAL,
            UNIQUE (name, wafer, file)) STRICT""",  # a name comes again on every wafer of a table
        """INSERT INTO samples_of_wafers
            SELECT id, name, composition, file, wafer, context, x, y FROM samples""",
        "DROP TABLE samples",
        "ALTER TABLE samples_of_wafers RENAME TO samples",
        "CREATE INDEX places_of_samples ON samples (x) WHERE x IS NOT NULL",
        "CREATE INDEX wafers_of_samples ON samples (wafer) WHERE wafer <> ''",
        """CREATE INDEX samples_of_spectra ON spectra (json_extract(facts, '$.sample'), json_extract(facts, '$.wafer'))
            WHERE json_extract(facts, '$.sample') IS NOT NULL AND state <> 'retracted'""",
        """CREATE INDEX off_targets ON spectra (json_extract(facts, '$.off_target_at_pct'), suggestion)
            WHERE json_extract(facts, '$.off_target_at_pct') IS NOT NULL""",
        "ALTER TABLE spectra ADD COLUMN wafer TEXT AS (CAST(json_extract(facts, '$.wafer') AS TEXT)) VIRTUAL",
        "CREATE INDEX wafers_of_spectra ON spectra (wafer, round)",  # to count them without the spectra
    ):
        db.execute(statement)


@_version
def notes(db: sqlite3.Connection) -> None:
    """What people remark on a round, an alloy or a measurement; where all three are NULL, on the campaign."""
    db.execute(
        """CREATE TABLE notes (
            id INTEGER PRIMARY KEY, time TEXT NOT NULL, person TEXT NOT NULL, text TEXT NOT NULL,
            round INTEGER, composition TEXT, measurement TEXT) STRICT"""
    )


def _pause(sentence: str) -> dict[str, str]:
    """Return who paused a campaign, since when and why, from the sentence that stood for it."""
    found = re.fullmatch(r"since (\d{4}-\d\d-\d\d \d\d:\d\d) by (.*?): (.*)", sentence, flags=re.DOTALL)
    if found is None:
        return {"by": "", "since": datetime.now(UTC).isoformat(), "reason": sentence}
    since = datetime.strptime(found[1], "%Y-%m-%d %H:%M").astimezone(UTC)  # was local time
    return {"by": found[2], "since": since.isoformat(), "reason": found[3]}


def _add_screened(db: sqlite3.Connection) -> None:
    """Add the column that `laboratory` didn't make yet in its first text, where a store has seen that."""
    if any(name == "screened" for _, name, *_ in db.execute("PRAGMA table_info(spectra)")):
        return
    db.execute("ALTER TABLE spectra ADD COLUMN screened INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """UPDATE spectra SET screened = 1
        WHERE round IN (SELECT round FROM stages WHERE name = 'measure' AND status = 'done')"""
    )


def version(db: sqlite3.Connection) -> int:
    """Return the version of a store: how many migrations it has seen; 0 where nothing is in it yet."""
    return len(_applied(db))


def is_current(db: sqlite3.Connection) -> bool:
    """Return whether a store is of this version."""
    return MIGRATIONS.keys() <= set(_applied(db))


def migrate(db: sqlite3.Connection, *, stop_before: str | None = None) -> None:
    """Bring a store up to date, a transaction a version.

    Args:
        db: Not within a transaction.
        stop_before: The migration to stop before; by default none.
    """
    checksums.register(db)
    for statement in (
        """CREATE TABLE IF NOT EXISTS _sqlite_migrations (
            id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)""",
        """CREATE UNIQUE INDEX IF NOT EXISTS idx__sqlite_migrations_migration_set_name
            ON _sqlite_migrations (migration_set, name)""",
    ):
        db.execute(statement)
    for name in [name for name in MIGRATIONS if name not in _applied(db)]:
        if name == stop_before:
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            if name == "status_as_data":
                _add_screened(db)
            MIGRATIONS[name](db)
            if checksums.is_covered(db):
                checksums.cover(db)
            values = ["glassmap", name, str(datetime.now(UTC))]
            db.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)", values)
        except BaseException:
            if db.in_transaction:  # a full disk has SQLite roll back by itself
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def later_than_known(db: sqlite3.Connection) -> list[str]:
    """Return the migrations that a store has seen and this glassmap doesn't know."""
    return [name for name in _applied(db) if name not in MIGRATIONS]


def _applied(db: sqlite3.Connection) -> list[str]:
    """Return the migrations that a store has seen, in their order; the table is as sqlite-utils has always made it."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone() is None:
        return []
    return [name for (name,) in db.execute("SELECT name FROM _sqlite_migrations ORDER BY rowid")]

"""The campaign's memory: one SQLite file a campaign folder, and the files that are too big for it.

Every stage records what it did and that it is done in one transaction, so a campaign that is cut anywhere goes on
where it was. One process writes (`CampaignStore.open` takes the campaign's lock), any number read (`read_only`).
"""

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, NamedTuple

import numpy as np
from sqlite_utils import Database

from glassmap.agent.data.composition import label
from glassmap.agent.errors import CampaignBusy, StoreError
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import Budget, CurvePoint, Decision
from glassmap.agent.shapes import Axis, Composition, Compositions, Spectra, Spectrum, TakenCompositions
from glassmap.agent.store.schema import migrations

FILE_NAME = "campaign.db"
MIGRATION_SECONDS = 10.0  # that a reader waits for a store that is being brought up to date
DRIVER = "glassmap"  # who did what no person did


class Suggestion(NamedTuple):
    """An alloy that a round asks for."""

    id: str  # "r003-07": round and place in its batch
    round: int
    row: int  # rank in the space, or row of the data set that is replayed
    composition: tuple[float, ...]  # target, atomic fraction
    hold_out: bool  # never trained on


class Standing(NamedTuple):
    """What became of a suggestion."""

    suggestion: Suggestion
    state: Literal["measured", "doubtful", "missing", "failed", "rejected", "abandoned", "retracted"]
    reason: str
    measurement: str | None  # id of the one that counts


class Measured(NamedTuple):
    """A measurement without its spectrum."""

    id: str  # the suggestion's, "r003-07-2" where it was repeated, "u0001" where nobody asked
    suggestion: str | None
    round: int  # that it came in
    composition: tuple[float, ...]  # as found, atomic fraction
    hold_out: bool
    backend: str  # who measured
    taken: str  # when
    state: Literal["used", "doubtful", "retracted"]
    reason: str  # why it is doubtful or retracted
    facts: dict[str, Any]  # what else was found, and from what
    screened: bool  # whether it was held against its neighbours


class DroppedFile(NamedTuple):
    """A file that a laboratory dropped, and what became of it."""

    id: int
    path: str
    size: int  # bytes
    modified: int  # ns, since 1970
    hash: str  # SHA-256 of its content
    kind: Literal["scan", "table"]
    state: Literal["used", "waiting", "duplicate", "quarantined"]
    reason: str
    measurement: str | None
    time: str


class LogLine(NamedTuple):
    """Who did what, when and why."""

    time: str
    person: str
    event: str
    subject: str  # the id of a suggestion or measurement, if it was about one
    detail: str


class Status(NamedTuple):
    """Where a campaign stands, in the words of `glassmap status --json`."""

    state: Literal["running", "waiting", "paused", "converged", "exhausted", "failed"]
    reason: str  # for a person
    rounds: int  # whose model is judged
    spectra: int  # measured, held out ones included
    hold_out_mse: float | None  # of the last model, ensemble mean


class CampaignStore:
    """Rows in, rows out; decides nothing."""

    def __init__(self, db: Database, folder: Path, *, person: str = DRIVER) -> None:
        self._db, self.folder, self.person = db, folder, person

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, person: str = DRIVER) -> Iterator["CampaignStore"]:
        """Open to write, made where it doesn't exist; holds the campaign's lock until the block ends.

        The kernel frees the lock when the process ends, however it ends.

        Raises:
            CampaignBusy: If another process holds the lock.
            StoreError: If a later glassmap wrote the store.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "campaign.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CampaignBusy(
                    f"The campaign in {folder} is being advanced by another process. Wait for it, or stop it."
                ) from error
            with _connect(folder) as db:
                with _damage_in_words(folder):
                    _refuse_newer(db, folder)
                    db.enable_wal()
                    migrations.apply(db)
                yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def amend(cls, folder: Path, *, person: str) -> Iterator["CampaignStore"]:
        """Open to write a few rows beside whoever advances the campaign: what a person decides.

        Raises:
            StoreError: If there is no store, or it is of another version.
        """
        with cls.read_only(folder):  # is there, and of this version
            pass
        with _connect(folder) as db:
            yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def read_only(cls, folder: Path) -> Iterator["CampaignStore"]:
        """Open to read, in one snapshot; any write raises `sqlite3.OperationalError`.

        Raises:
            StoreError: If there is no store, or it is of another version.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise StoreError(
                f"No campaign has been started in {folder}. Start one with `glassmap replay DATASET.nc --folder "
                f"{folder}`, or `glassmap init {folder} --dataset DATASET.nc` and `glassmap run {folder}`."
            )
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)) as connection:
            db = Database(connection)
            with _damage_in_words(folder):
                db.execute("BEGIN")
                _refuse_newer(db, folder)
                deadline = monotonic() + MIGRATION_SECONDS
                while migrations.pending(db) and is_advanced(folder) and monotonic() < deadline:
                    db.execute("ROLLBACK")  # somebody brings it up to date right now
                    sleep(0.05)
                    db.execute("BEGIN")
                if migrations.pending(db):
                    raise StoreError(f"{path} is of an older version. `glassmap run {folder}` brings it up to date.")
            yield cls(db, folder)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and the write lock from the start: a deferred one can fail halfway."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # --- settings and log

    def setting(self, key: str) -> Any:
        """A recorded setting, or None."""
        rows = list(self._db.query("SELECT value FROM settings WHERE key = ?", [key]))
        return json.loads(rows[0]["value"]) if rows else None

    def record_setting(self, key: str, value: Any) -> None:
        """Record a setting, in place of an older one; call within a transaction."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [key, json.dumps(value)])

    def log(self, event: str, detail: str = "", *, subject: str = "") -> None:
        """Add a line to the audit log; call within a transaction.

        Args:
            event: What was done, a word.
            detail: How much, why.
            subject: Id of the suggestion or measurement that it was done to.
        """
        self._db.execute(
            "INSERT INTO log (time, event, detail, person, subject) VALUES (?, ?, ?, ?, ?)",
            [_now(), event, detail, self.person, subject],
        )

    def log_lines(self, *, subject: str | None = None) -> list[LogLine]:
        """The audit log, oldest first; of one suggestion or measurement, or all."""
        rows = self._db.query(
            """SELECT time, person, event, subject, COALESCE(detail, '') AS detail FROM log
            WHERE :subject IS NULL OR subject = :subject ORDER BY id""",
            {"subject": subject},
        )
        return [LogLine(**row) for row in rows]

    def last_activity(self) -> datetime:
        """When something was logged last; a campaign's first line is that it started."""
        return datetime.fromisoformat(next(self._db.query("SELECT MAX(time) AS time FROM log"))["time"])

    def record_axis(self, name: str, axis: Axis, wavelength: float | None) -> None:
        """Record the common axis of all spectra; call within a transaction."""
        values = [name, wavelength, axis.astype("<f8").tobytes()]
        self._db.execute("INSERT INTO axes VALUES (1, ?, ?, ?)", values)

    def axis(self) -> tuple[str, Axis, float | None]:
        """Name, values and wavelength of the common axis."""
        row = next(self._db.query("SELECT * FROM axes"))
        return row["name"], np.frombuffer(row["value"], "<f8").copy(), row["wavelength"]

    # --- stages

    def stage_status(self, round_: int, name: str) -> str | None:
        """`running`, `waiting`, `failed`, `done`, or None before the first attempt."""
        rows = list(self._db.query("SELECT status FROM stages WHERE round = ? AND name = ?", [round_, name]))
        return rows[0]["status"] if rows else None

    def start_stage(self, round_: int, name: str) -> int:
        """Count an attempt at a stage; returns how many there were."""
        with self.transaction():
            self._db.execute(
                """INSERT INTO stages (round, name, status, attempts, started) VALUES (?, ?, 'running', 1, ?)
                ON CONFLICT DO UPDATE SET status = 'running', attempts = attempts + 1, started = excluded.started,
                finished = NULL, error = NULL""",
                [round_, name, _now()],
            )
        attempts = "SELECT attempts FROM stages WHERE round = ? AND name = ?"
        return self._db.execute(attempts, [round_, name]).fetchone()[0]

    def has_happened(self, *, since: str) -> bool:
        """Whether a person did, or a laboratory gave, something after that time."""
        lines = "SELECT 1 FROM log WHERE time > ? AND (person <> ? OR event NOT IN ('failed', 'not told')) LIMIT 1"
        return self._db.execute(lines, [since, DRIVER]).fetchone() is not None

    def end_stage(self, round_: int, name: str, status: str, error: str | None = None) -> None:
        """Set a stage's status; call within the transaction that records its results."""
        self._db.execute(
            "UPDATE stages SET status = ?, finished = ?, error = ? WHERE round = ? AND name = ?",
            [status, _now(), error, round_, name],
        )

    def reopen_measuring(self, round_: int, reason: str) -> None:
        """Have a round that was to be trained be measured on; call within a transaction."""
        self._db.execute("DELETE FROM stages WHERE round = ? AND name = 'train'", [round_])
        self.end_stage(round_, "measure", "waiting", reason)

    def last_stage(self) -> dict[str, Any] | None:
        """The stage that the campaign is at."""
        return next(self._db.query("SELECT * FROM stages ORDER BY round DESC, rowid DESC LIMIT 1"), None)

    # --- batches and spectra

    def record_batch(self, round_: int, suggestions: Sequence[Suggestion], coverage: Coverage) -> None:
        """Record the alloys that a round asks for; call within a transaction."""
        self._db.execute(
            "INSERT INTO batches (round, separation, worst, mean) VALUES (?, ?, ?, ?)", [round_, *map(float, coverage)]
        )
        self.add_to_batch(suggestions)

    def add_to_batch(self, suggestions: Sequence[Suggestion]) -> None:
        """Record alloys at the end of their round's batch; call within a transaction."""
        for s in suggestions:
            self._db.execute(
                """INSERT INTO suggestions
                SELECT :id, :round, COALESCE(MAX(position) + 1, 0), :row, :composition, :hold_out
                FROM suggestions WHERE round = :round""",
                s._asdict() | {"composition": json.dumps(s.composition), "hold_out": int(s.hold_out)},
            )

    def batch_time(self, round_: int, what: Literal["approved", "ordered"]) -> datetime | None:
        """When a round's batch was approved, or first ordered; None where it wasn't yet."""
        time = next(self._db.query("SELECT approved, ordered FROM batches WHERE round = ?", [round_]))[what]
        return None if time is None else datetime.fromisoformat(time)

    def record_approval(self, round_: int) -> None:
        """Record that a round's batch may be measured; call within a transaction."""
        self._db.execute("UPDATE batches SET approved = ? WHERE round = ? AND approved IS NULL", [_now(), round_])

    def record_order(self, round_: int) -> None:
        """Record that a round's batch was ordered, the first time; call within a transaction."""
        self._db.execute("UPDATE batches SET ordered = ? WHERE round = ? AND ordered IS NULL", [_now(), round_])

    def mark_order(self, round_: int) -> None:
        """Remember that a round's order file no longer says what is known; call within a transaction."""
        self.record_setting("orders_to_write", sorted({*self.orders_to_write(), round_}))

    def orders_to_write(self) -> list[int]:
        """The rounds whose order files no longer say what is known."""
        return self.setting("orders_to_write") or []

    def suggestions(self, *, round_: int | None = None, pending: bool = False) -> list[Suggestion]:
        """Suggestions in the order they were made; of one round, or only those that a measurement is waited for."""
        rows = self._db.query(
            """SELECT * FROM suggestions WHERE (:round IS NULL OR round = :round) AND NOT (:pending AND (
                EXISTS (SELECT 1 FROM spectra WHERE suggestion = suggestions.id AND state <> 'retracted')
                OR EXISTS (SELECT 1 FROM failures WHERE suggestion = suggestions.id)
                OR EXISTS (SELECT 1 FROM verdicts WHERE suggestion = suggestions.id)))
            ORDER BY round, position""",
            {"round": round_, "pending": pending},
        )
        return [_suggestion(row) for row in rows]

    def suggestion(self, id_: str) -> Suggestion | None:
        """A suggestion by its id, if there is one."""
        row = next(self._db.query("SELECT * FROM suggestions WHERE id = ?", [id_]), None)
        return None if row is None else _suggestion(row)

    def standings(self, round_: int) -> list[Standing]:
        """What became of each suggestion of a round, in the order they were made."""
        rows = self._db.query(
            """SELECT suggestions.*, spectra.id AS measurement, CASE
                WHEN spectra.state = 'doubtful' THEN 'doubtful' WHEN spectra.state = 'used' THEN 'measured'
                WHEN verdict IS NOT NULL THEN verdict WHEN failures.reason IS NOT NULL THEN 'failed'
                ELSE 'missing' END AS state,
                COALESCE(spectra.reason, verdicts.reason, failures.reason, '') AS reason
            FROM suggestions
            LEFT JOIN spectra ON spectra.id = (
                SELECT id FROM spectra WHERE suggestion = suggestions.id AND state <> 'retracted'
                ORDER BY state = 'doubtful', rowid LIMIT 1)
            LEFT JOIN verdicts ON verdicts.suggestion = suggestions.id
            LEFT JOIN failures ON failures.suggestion = suggestions.id
            WHERE suggestions.round = ? ORDER BY position""",
            [round_],
        )
        return [Standing(_suggestion(row), row["state"], row["reason"], row["measurement"]) for row in rows]

    def standing(self, suggestion: Suggestion) -> Standing:
        """What became of one suggestion."""
        return next(one for one in self.standings(suggestion.round) if one.suggestion.id == suggestion.id)

    def taken(self, *, since: int = 0) -> TakenCompositions:
        """Every composition that was asked for since a round, and every one that was found, shape `(t, e)`."""
        condition = f"WHERE round >= {since}" if since else ""  # without, an index is enough
        tables = (self._db.execute(f"SELECT composition FROM {t} {condition}") for t in ("suggestions", "spectra"))
        texts = sorted({text for table in tables for (text,) in table})
        compositions = json.loads(f"[{','.join(texts)}]")  # at once: there may be 100,000
        return np.array(compositions, dtype=np.float64).reshape(-1, len(self.setting("elements")))

    def record_spectrum(
        self,
        suggestion: Suggestion | None,
        composition: Composition,
        spectrum: Spectrum,
        *,
        backend: str,
        facts: Mapping[str, Any] | None = None,
        id_: str | None = None,
        round_: int | None = None,
        hold_out: bool | None = None,
    ) -> None:
        """Record a measurement, once and for all; call within a transaction.

        Args:
            suggestion: What was asked for; None where nobody asked.
            composition: As found, atomic fraction.
            spectrum: On the campaign's axis.
            backend: Who measured.
            facts: What else it found, such as a density; JSON types.
            id_: The suggestion's by default; see `new_measurement_id`.
            round_: That it came in; the suggestion's by default.
            hold_out: Never trained on; as the suggestion by default.

        Raises:
            sqlite3.IntegrityError: If the id is taken: the suggestion is already measured.
        """
        asked = suggestion or Suggestion("", 0, 0, (), hold_out=False)
        self._db.execute("DELETE FROM progress WHERE suggestion = ?", [asked.id])
        self._db.execute(
            """INSERT INTO spectra (id, suggestion, round, hold_out, composition, intensity, backend, taken, facts)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            [
                id_ or asked.id,
                asked.id or None,
                asked.round if round_ is None else round_,
                int(asked.hold_out if hold_out is None else hold_out),
                json.dumps(composition.tolist()),
                spectrum.astype("<f4").tobytes(),
                backend,
                _now(),
                json.dumps(facts or {}),
            ],
        )

    def new_measurement_id(self, suggestion: Suggestion | None) -> str:
        """The id of the next measurement of a suggestion, or of the next that nobody asked for."""
        known = {"suggestion": suggestion.id if suggestion else None}
        count = next(self._db.query("SELECT COUNT(*) AS n FROM spectra WHERE suggestion IS :suggestion", known))["n"]
        if suggestion is None:
            return f"u{count + 1:04d}"
        return f"{suggestion.id}-{count + 1}" if count else suggestion.id

    def measurements(self) -> list[Measured]:
        """Every measurement, in the order they came."""
        return [_measured(row) for row in self._db.query(f"SELECT {', '.join(Measured._fields)} FROM spectra")]

    def measurement(self, id_: str) -> Measured | None:
        """A measurement by its id, if there is one."""
        query = f"SELECT {', '.join(Measured._fields)} FROM spectra WHERE id = ?"
        row = next(self._db.query(query, [id_]), None)
        return None if row is None else _measured(row)

    def measurements_of(self, hash_: str) -> list[Measured]:
        """The measurements that were read from a content."""
        query = f"SELECT {', '.join(Measured._fields)} FROM spectra WHERE json_extract(facts, '$.hash') = ?"
        return [_measured(row) for row in self._db.query(query, [hash_])]

    def spectra_of(self, ids: Sequence[str]) -> Spectra:
        """The spectra of some measurements, whatever their state, `(n, q)`."""
        query = "SELECT intensity FROM spectra WHERE id = ?"
        found = [next(self._db.query(query, [id_]))["intensity"] for id_ in ids]
        return np.array([np.frombuffer(intensity, "<f4") for intensity in found], dtype=np.float64).reshape(
            len(ids), len(self.axis()[1])
        )

    def judge_measurement(self, id_: str, state: Literal["used", "doubtful", "retracted"], reason: str) -> None:
        """Use a measurement or not, from the next training on, for good; call within a transaction."""
        self._db.execute("UPDATE spectra SET state = ?, reason = ?, screened = 1 WHERE id = ?", [state, reason, id_])

    def record_screening(self, ids: Sequence[str]) -> None:
        """Remember that measurements were held against their neighbours; call within a transaction."""
        for id_ in ids:
            self._db.execute("UPDATE spectra SET screened = 1 WHERE id = ?", [id_])

    def record_verdict(
        self, suggestion: str, verdict: Literal["rejected", "abandoned", "retracted"], reason: str
    ) -> None:
        """Record that no measurement of a suggestion is waited for any more; call within a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", [suggestion, verdict, reason, self.person, _now()]
        )

    def forget_verdict(self, suggestion: str) -> None:
        """Wait for a suggestion's measurement again, failed or not; call within a transaction."""
        self._db.execute("DELETE FROM verdicts WHERE suggestion = ?", [suggestion])
        self._db.execute("DELETE FROM failures WHERE suggestion = ?", [suggestion])

    def facts(self) -> dict[str, dict[str, Any]]:
        """What else each measurement found, by its id."""
        return {row["id"]: json.loads(row["facts"]) for row in self._db.query("SELECT id, facts FROM spectra")}

    def record_failure(self, suggestion: Suggestion, reason: str, *, cpu_seconds: float = 0.0) -> None:
        """Record that a suggestion can't be measured, and what trying has cost; call within a transaction."""
        self._db.execute("DELETE FROM progress WHERE suggestion = ?", [suggestion.id])
        self._db.execute("INSERT INTO failures VALUES (?, ?, ?)", [suggestion.id, reason, _now()])
        lost = (self.setting("lost_cpu_seconds") or 0.0) + cpu_seconds  # stays when it is tried again
        self.record_setting("lost_cpu_seconds", lost)

    def failures(self, *, round_: int | None = None) -> dict[str, str]:
        """Why suggestions could not be measured, by their id; of one round or all."""
        rows = self._db.query(
            """SELECT suggestion, reason FROM failures JOIN suggestions ON id = suggestion
            WHERE (:round IS NULL OR round = :round) ORDER BY round, position""",
            {"round": round_},
        )
        return {row["suggestion"]: row["reason"] for row in rows}

    def forget_failures(self, round_: int) -> None:
        """Have what failed in a round measured again; call within a transaction."""
        self._db.execute(
            "DELETE FROM failures WHERE suggestion IN (SELECT id FROM suggestions WHERE round = ?)", [round_]
        )

    def record_hold_out(self, suggestion: Suggestion, *, hold_out: bool) -> None:
        """Hold a measured alloy out of training after all, or not; call within a transaction."""
        for table, column in (("suggestions", "id"), ("spectra", "suggestion")):
            self._db.execute(f"UPDATE {table} SET hold_out = ? WHERE {column} = ?", [int(hold_out), suggestion.id])

    def record_progress(self, suggestion: Suggestion, share: float) -> None:
        """Record how much of a measurement is done, 0 to 1; call within a transaction."""
        self._db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", [suggestion.id, share, _now()])

    def clear_progress(self) -> None:
        """Forget how far measurements were, as none runs any more; call within a transaction."""
        self._db.execute("DELETE FROM progress")

    def progress(self) -> list[tuple[Suggestion, float]]:
        """The measurements that run, and how much of each is done, 0 to 1."""
        shares = {row["suggestion"]: row["share"] for row in self._db.query("SELECT suggestion, share FROM progress")}
        return [(s, shares[s.id]) for s in self.suggestions(pending=True) if s.id in shares]

    def spectra(
        self, *, hold_out: bool, round_: int | None = None, since: int = 0
    ) -> tuple[list[str], Compositions, Spectra]:
        """Ids, measured compositions and spectra that are used, to train on or held out, in the order planned.

        Args:
            hold_out: Which of the two.
            round_: Only what came in that round.
            since: Only what came in that round or later.
        """
        rows = list(
            self._db.query(
                """SELECT spectra.id, spectra.composition, intensity FROM spectra
                LEFT JOIN suggestions ON suggestions.id = suggestion
                WHERE state = 'used' AND spectra.hold_out = :hold_out AND spectra.round >= :since
                    AND (:round IS NULL OR spectra.round = :round)
                ORDER BY COALESCE(suggestions.round, spectra.round), COALESCE(position, 1000000), spectra.id""",
                {"hold_out": int(hold_out), "round": round_, "since": since},
            )
        )
        compositions = np.array([json.loads(row["composition"]) for row in rows], dtype=np.float64)
        spectra = np.array([np.frombuffer(row["intensity"], "<f4") for row in rows], dtype=np.float64)
        if not rows:
            return [], np.empty((0, len(self.setting("elements")))), np.empty((0, len(self.axis()[1])))
        return [row["id"] for row in rows], compositions, spectra

    def n_spectra(self) -> int:
        """Measurements so far."""
        return self._db["spectra"].count

    def used(self) -> Budget:
        """What the campaign has used up."""
        began = next(self._db.query("SELECT MIN(time) AS time FROM log"))["time"]
        cpu = "SELECT COALESCE(SUM(json_extract(facts, '$.cpu_seconds')), 0) / 3600.0 FROM spectra"
        hours = 0.0 if began is None else (datetime.now(UTC) - datetime.fromisoformat(began)).total_seconds() / 3600
        cpu_hours = self._db.execute(cpu).fetchone()[0] + (self.setting("lost_cpu_seconds") or 0.0) / 3600
        return Budget(len(self.curve()), self.n_spectra(), hours, cpu_hours)

    # --- files of a laboratory

    def files(self, *, state: str | None = None) -> list[DroppedFile]:
        """Every file that was dropped, in the order they were seen; or only those of one state."""
        query = "SELECT * FROM files WHERE :state IS NULL OR state = :state ORDER BY id"
        return [DroppedFile(**row) for row in self._db.query(query, {"state": state})]

    def file_of(self, hash_: str) -> DroppedFile | None:
        """The file of that content that was used, the last time, or waits, if there is one."""
        query = "SELECT * FROM files WHERE hash = ? AND state IN ('used', 'waiting') ORDER BY state, time DESC LIMIT 1"
        row = next(self._db.query(query, [hash_]), None)
        return None if row is None else DroppedFile(**row)

    def paths_of(self, hash_: str) -> list[str]:
        """Every path that a content was dropped under, the last first."""
        query = "SELECT path FROM files WHERE hash = ? ORDER BY time DESC, id DESC"
        return [row["path"] for row in self._db.query(query, [hash_])]

    def record_file(
        self,
        path: str,
        *,
        size: int,
        modified: int,
        hash_: str,
        kind: Literal["scan", "table"],
        state: Literal["used", "waiting", "duplicate", "quarantined"],
        reason: str = "",
        measurement: str | None = None,
    ) -> int:
        """Record what became of a file, in place of what the same file was before; call within a transaction."""
        self._db.execute(
            """INSERT INTO files (path, size, modified, hash, kind, state, reason, measurement, time)
            VALUES (:path, :size, :modified, :hash, :kind, :state, :reason, :measurement, :time)
            ON CONFLICT (path, size, modified) DO UPDATE SET hash = :hash, kind = :kind, state = :state,
            reason = :reason, measurement = :measurement, time = :time""",
            {
                "path": path,
                "size": size,
                "modified": modified,
                "hash": hash_,
                "kind": kind,
                "state": state,
                "reason": reason,
                "measurement": measurement,
                "time": _now(),
            },
        )
        query = "SELECT id FROM files WHERE path = ? AND size = ? AND modified = ?"
        return next(self._db.query(query, [path, size, modified]))["id"]

    def record_sample(self, name: str, composition: Composition, *, file: int) -> None:
        """Record a row of a composition table; call within a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO samples (name, composition, file) VALUES (?, ?, ?)",
            [name, json.dumps(composition.tolist()), file],
        )

    def samples(self, name: str) -> list[tuple[str, tuple[float, ...]]]:
        """What tables say of a sample, the last first: path of the table, composition as atomic fraction."""
        rows = self._db.query(
            """SELECT path, composition FROM samples JOIN files ON files.id = samples.file
            WHERE name = ? ORDER BY samples.id DESC""",
            [name],
        )
        return [(row["path"], tuple(json.loads(row["composition"]))) for row in rows]

    def coverage(self) -> list[Coverage]:
        """How evenly each round's batch, with all before it, covers the space; oldest round first."""
        return [Coverage(**row) for row in self._db.query("SELECT separation, worst, mean FROM batches ORDER BY round")]

    # --- notices

    def record_notice(self, key: str, content: Mapping[str, Any]) -> None:
        """Record what is to be told, unless it is what was told last; call within a transaction.

        Args:
            key: Of the state that the campaign is in.
            content: JSON types.
        """
        last = next(self._db.query("SELECT key FROM notices ORDER BY id DESC LIMIT 1"), None)
        if last is None or last["key"] != key:
            statement = "INSERT INTO notices (time, key, content) VALUES (?, ?, ?)"
            self._db.execute(statement, [_now(), key, json.dumps(content)])

    def pending_notices(self, *, tries: int) -> list[tuple[int, dict[str, Any]]]:
        """Number and content of what was told to nobody yet, and tried less often than that; oldest first."""
        query = "SELECT id, content FROM notices WHERE told IS NULL AND tries < ? ORDER BY id"
        return [(row["id"], json.loads(row["content"])) for row in self._db.query(query, [tries])]

    def end_notice(self, id_: int, *, error: str = "") -> None:
        """Record that a notice was told, or why it could not be."""
        with self.transaction():
            told = None if error else _now()
            self._db.execute("UPDATE notices SET tries = tries + 1, told = ? WHERE id = ?", [told, id_])
            if error:
                self.log("not told", error)

    # --- models, maps, decisions

    def record_artefact(self, round_: int, kind: str, path: Path) -> None:
        """Record a file of the campaign folder; call within a transaction."""
        relative = path.relative_to(self.folder).as_posix()
        self._db.execute("INSERT OR REPLACE INTO artefacts VALUES (?, ?, ?)", [round_, kind, relative])

    def record_only_artefact(self, round_: int, kind: str, path: Path) -> None:
        """Record a file, and forget those of the same kind of other rounds; call within a transaction."""
        self._db.execute("DELETE FROM artefacts WHERE kind = ?", [kind])
        self.record_artefact(round_, kind, path)

    def artefact(self, kind: str, round_: int | None = None) -> tuple[int, Path] | None:
        """Round and path of the `checkpoint`, `map` or `atlas` of that round, or the latest; None without."""
        rows = list(
            self._db.query(
                """SELECT round, path FROM artefacts WHERE kind = :kind AND (:round IS NULL OR round = :round)
                ORDER BY round DESC LIMIT 1""",
                {"kind": kind, "round": round_},
            )
        )
        return (rows[0]["round"], self.folder / rows[0]["path"]) if rows else None

    def artefacts(self, kind: str) -> dict[int, Path]:
        """The files of a kind, by round."""
        rows = self._db.query("SELECT round, path FROM artefacts WHERE kind = ? ORDER BY round", [kind])
        return {row["round"]: self.folder / row["path"] for row in rows}

    def record_curve_point(self, point: CurvePoint) -> None:
        """Record what a round's model is worth; call within a transaction."""
        self._db.execute("INSERT INTO curve VALUES (?, ?, ?, ?, ?, ?, ?)", list(point))

    def curve(self) -> list[CurvePoint]:
        """The learning curve, oldest round first."""
        return [CurvePoint(**row) for row in self._db.query("SELECT * FROM curve ORDER BY round")]

    def record_decision(self, round_: int, decision: Decision) -> None:
        """Record whether to go on; call within a transaction."""
        values = [round_, decision.state, decision.reason, json.dumps(decision.improvements)]
        self._db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", values)

    def decision(self) -> tuple[int, Decision] | None:
        """The last round that came to a decision, and the decision."""
        return next(reversed(self.decisions().items()), None)

    def decisions(self) -> dict[int, Decision]:
        """What each round decided."""
        rows = self._db.query("SELECT * FROM decisions ORDER BY round")
        return {
            row["round"]: Decision(row["state"], row["reason"], tuple(json.loads(row["improvements"]))) for row in rows
        }

    def reopen_decision(self) -> None:
        """Take back the last decision, so that it is made again; call within a transaction."""
        if (last := self.decision()) is not None:
            self._db.execute("DELETE FROM decisions WHERE round = ?", [last[0]])
            self._db.execute("DELETE FROM stages WHERE round = ? AND name = 'decide'", [last[0]])

    def status(self) -> Status:
        """Where the campaign stands."""
        curve, last, stage = self.curve(), self.decision(), self.last_stage()
        running, elements = self.progress(), self.setting("elements")
        state, reason = "running", "Not started yet."
        if stage is not None:
            reason = f"Round {stage['round']}, {stage['name']}: {stage['status']}."
            if stage["name"] == "measure":
                asked = self.suggestions(round_=stage["round"])
                reason += (
                    f" {len(asked) - len(self.suggestions(round_=stage['round'], pending=True))} of {len(asked)} done"
                )
                reason += (
                    "".join(f", {label(np.array(s.composition), elements)} {share:.0%}" for s, share in running) + "."
                )
            if not is_advanced(self.folder):
                reason += f" No process is at it: `glassmap run {self.folder}` goes on."
        if stage is not None and stage["status"] == "failed":
            state, reason = "failed", f"Round {stage['round']}, {stage['name']}: {stage['error']}"
        elif stage is not None and stage["status"] == "waiting":
            state, reason = "waiting", stage["error"] or self._missing(stage["round"])
            times = [self.batch_time(stage["round"], what) for what in ("approved", "ordered")]
            if stage["error"] and times[0] is not None and times[1] is None:
                reason = f"Round {stage['round']} is approved: `glassmap run {self.folder}` orders it."
        elif last is not None and last[1].state != "continue":
            state, reason = last[1].state, last[1].reason
        if look := self.to_look_at():
            reason += f" To look at with `glassmap ledger`: {look}."
        if (paused := self.setting("paused")) is not None:
            state, reason = "paused", f"Paused {paused}. {reason}"
        return Status(state, reason, len(curve), self.n_spectra(), curve[-1].mse if curve else None)

    def to_look_at(self) -> str:
        """What a person should see to: files as they were dropped last, and doubtful measurements."""
        doubtful = self._db.execute("SELECT COUNT(*) FROM spectra WHERE state = 'doubtful'").fetchone()[0]
        last = "SELECT COUNT(*) FROM (SELECT state, MAX(time) FROM files GROUP BY path) WHERE state = ?"
        files = {state: self._db.execute(last, [state]).fetchone()[0] for state in ("quarantined", "waiting")}
        counts = {"quarantined files": files["quarantined"], "scans without a composition": files["waiting"]}
        return ", ".join(f"{n} {what}" for what, n in (counts | {"doubtful measurements": doubtful}).items() if n)

    def _missing(self, round_: int) -> str:
        missing, asked = (len(self.suggestions(round_=round_, pending=pending)) for pending in (True, False))
        since = self.batch_time(round_, "ordered")
        when = f" since {since.astimezone():%A %Y-%m-%d %H:%M}" if since else ""
        return f"Waiting for {missing} of {asked} measurements of round {round_}{when}."


def is_advanced(folder: Path) -> bool:
    """Whether a process holds the campaign's lock."""
    path = folder / "campaign.lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _suggestion(row: Mapping[str, Any]) -> Suggestion:
    return Suggestion(row["id"], row["round"], row["row"], tuple(json.loads(row["composition"])), bool(row["hold_out"]))


def _measured(row: Mapping[str, Any]) -> Measured:
    read = {"composition": tuple(json.loads(row["composition"])), "facts": json.loads(row["facts"])}
    return Measured(**{**row, **read, "hold_out": bool(row["hold_out"]), "screened": bool(row["screened"])})


@contextmanager
def _connect(folder: Path) -> Iterator[Database]:
    path = folder / FILE_NAME  # a beamline's engine may ask from another thread than opened it, one at a time
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)) as connection:
        with _damage_in_words(folder):
            connection.execute("PRAGMA synchronous=FULL")
        yield Database(connection)


@contextmanager
def _damage_in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{folder / FILE_NAME} can't be read: {error}. Restore it from a copy; if the folder is not yours to "
            "write, copy it and look at the copy."
        ) from error


def _refuse_newer(db: Database, folder: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as nothing:
        known = {migration.name for migration in migrations.pending(Database(nothing))}
    if unknown := [migration.name for migration in migrations.applied(db) if migration.name not in known]:
        raise StoreError(
            f"{folder / FILE_NAME} was written by a later glassmap ({unknown[0]}). Update glassmap to use it."
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

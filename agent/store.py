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
from typing import Any, Literal, NamedTuple

import numpy as np
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from agent.acquisition import Coverage
from agent.composition import label
from agent.convergence import CurvePoint, Decision
from agent.errors import StoreError
from agent.shapes import Axis, Composition, Compositions, Spectra, Spectrum, TakenCompositions

FILE_NAME = "campaign.db"
migrations = Migrations("glassmap")


@migrations()
def first_tables(db: Database) -> None:
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


@migrations()
def failures_and_progress(db: Database) -> None:
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


class Suggestion(NamedTuple):
    """An alloy that a round asks for."""

    id: str  # "r003-07": round and place in its batch
    round: int
    row: int  # rank in the space, or row of the data set that is replayed
    composition: tuple[float, ...]  # target, atomic fraction
    hold_out: bool  # never trained on


class Status(NamedTuple):
    """Where a campaign stands, in the words of `glassmap status --json`."""

    state: Literal["running", "waiting", "converged", "exhausted", "failed"]
    reason: str  # for a person
    rounds: int  # whose model is judged
    spectra: int  # measured, held out ones included
    hold_out_mse: float | None  # of the last model, ensemble mean


class CampaignStore:
    """Rows in, rows out; decides nothing."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db, self.folder = db, folder

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["CampaignStore"]:
        """Open to write, made where it doesn't exist; holds the campaign's lock until the block ends.

        The kernel frees the lock when the process ends, however it ends.

        Raises:
            StoreError: If another process holds the lock, or a later glassmap wrote the store.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "campaign.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"The campaign in {folder} is being advanced by another process. Wait for it, or stop it."
                ) from error
            with closing(sqlite3.connect(folder / FILE_NAME, timeout=30, isolation_level=None)) as connection:
                db = Database(connection)
                with _damage_in_words(folder):
                    _refuse_newer(db, folder)
                    db.enable_wal()
                    db.execute("PRAGMA synchronous=FULL")
                    migrations.apply(db)
                yield cls(db, folder)

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

    def log(self, event: str, detail: str = "") -> None:
        """Add a line to the audit log; call within a transaction."""
        self._db.execute("INSERT INTO log (time, event, detail) VALUES (?, ?, ?)", [_now(), event, detail])

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

    def start_stage(self, round_: int, name: str) -> None:
        """Count an attempt at a stage."""
        with self.transaction():
            self._db.execute(
                """INSERT INTO stages (round, name, status, attempts, started) VALUES (?, ?, 'running', 1, ?)
                ON CONFLICT DO UPDATE SET status = 'running', attempts = attempts + 1, started = excluded.started,
                finished = NULL, error = NULL""",
                [round_, name, _now()],
            )

    def end_stage(self, round_: int, name: str, status: str, error: str | None = None) -> None:
        """Set a stage's status; call within the transaction that records its results."""
        self._db.execute(
            "UPDATE stages SET status = ?, finished = ?, error = ? WHERE round = ? AND name = ?",
            [status, _now(), error, round_, name],
        )

    def last_stage(self) -> dict[str, Any] | None:
        """The stage that the campaign is at."""
        return next(self._db.query("SELECT * FROM stages ORDER BY round DESC, rowid DESC LIMIT 1"), None)

    # --- batches and spectra

    def record_batch(self, round_: int, suggestions: Sequence[Suggestion], coverage: Coverage) -> None:
        """Record the alloys that a round asks for; call within a transaction."""
        self._db.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", [round_, *map(float, coverage)])
        for position, s in enumerate(suggestions):
            self._db.execute(
                "INSERT INTO suggestions VALUES (?, ?, ?, ?, ?, ?)",
                [s.id, round_, position, s.row, json.dumps(s.composition), int(s.hold_out)],
            )

    def suggestions(self, *, round_: int | None = None, pending: bool = False) -> list[Suggestion]:
        """Suggestions in the order they were made; of one round, or only those neither measured nor failed."""
        rows = self._db.query(
            """SELECT * FROM suggestions WHERE (:round IS NULL OR round = :round)
            AND NOT (:pending AND EXISTS (SELECT 1 FROM spectra WHERE suggestion = suggestions.id))
            AND NOT (:pending AND EXISTS (SELECT 1 FROM failures WHERE suggestion = suggestions.id))
            ORDER BY round, position""",
            {"round": round_, "pending": pending},
        )
        return [
            Suggestion(r["id"], r["round"], r["row"], tuple(json.loads(r["composition"])), bool(r["hold_out"]))
            for r in rows
        ]

    def taken(self) -> TakenCompositions:
        """Every composition that was asked for, and every one that was found, shape `(t, e)`."""
        rows = self._db.query("SELECT composition FROM suggestions UNION SELECT composition FROM spectra")
        compositions = [json.loads(row["composition"]) for row in rows]
        return np.array(compositions, dtype=np.float64).reshape(-1, len(self.setting("elements")))

    def record_spectrum(
        self,
        suggestion: Suggestion,
        composition: Composition,
        spectrum: Spectrum,
        *,
        backend: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a measurement, once and for all; call within a transaction.

        Args:
            suggestion: What was asked for.
            composition: As found, atomic fraction.
            spectrum: On the campaign's axis.
            backend: Who measured.
            facts: What else it found, such as a density; JSON types.

        Raises:
            sqlite3.IntegrityError: If the suggestion is already measured.
        """
        self._db.execute("DELETE FROM progress WHERE suggestion = ?", [suggestion.id])
        self._db.execute(
            """INSERT INTO spectra (id, suggestion, composition, intensity, backend, taken, facts)
            VALUES (?, ?, ?, ?, ?, ?, ?)""",
            [
                suggestion.id,
                suggestion.id,
                json.dumps(composition.tolist()),
                spectrum.astype("<f4").tobytes(),
                backend,
                _now(),
                json.dumps(facts or {}),
            ],
        )

    def facts(self) -> dict[str, dict[str, Any]]:
        """What else each measurement found, by its id."""
        return {row["id"]: json.loads(row["facts"]) for row in self._db.query("SELECT id, facts FROM spectra")}

    def record_failure(self, suggestion: Suggestion, reason: str) -> None:
        """Record that a suggestion can't be measured; call within a transaction."""
        self._db.execute("DELETE FROM progress WHERE suggestion = ?", [suggestion.id])
        self._db.execute("INSERT INTO failures VALUES (?, ?, ?)", [suggestion.id, reason, _now()])

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
        self._db.execute("UPDATE suggestions SET hold_out = ? WHERE id = ?", [int(hold_out), suggestion.id])

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

    def spectra(self, *, hold_out: bool, round_: int | None = None) -> tuple[list[str], Compositions, Spectra]:
        """Ids, measured compositions and spectra, of training or hold-out measurements, in the order planned."""
        rows = list(
            self._db.query(
                """SELECT spectra.id, spectra.composition, intensity FROM spectra
                JOIN suggestions ON suggestions.id = suggestion
                WHERE hold_out = :hold_out AND (:round IS NULL OR round = :round) ORDER BY round, position""",
                {"hold_out": int(hold_out), "round": round_},
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

    def coverage(self) -> list[Coverage]:
        """How evenly each round's batch, with all before it, covers the space; oldest round first."""
        return [Coverage(**row) for row in self._db.query("SELECT separation, worst, mean FROM batches ORDER BY round")]

    # --- models, maps, decisions

    def record_artefact(self, round_: int, kind: str, path: Path) -> None:
        """Record a file of the campaign folder; call within a transaction."""
        relative = path.relative_to(self.folder).as_posix()
        self._db.execute("INSERT OR REPLACE INTO artefacts VALUES (?, ?, ?)", [round_, kind, relative])

    def artefact(self, kind: str, round_: int | None = None) -> tuple[int, Path] | None:
        """Round and path of the `checkpoint` or `map` of that round, or the latest; None where there is none."""
        rows = list(
            self._db.query(
                """SELECT round, path FROM artefacts WHERE kind = :kind AND (:round IS NULL OR round = :round)
                ORDER BY round DESC LIMIT 1""",
                {"kind": kind, "round": round_},
            )
        )
        return (rows[0]["round"], self.folder / rows[0]["path"]) if rows else None

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
        rows = list(self._db.query("SELECT * FROM decisions ORDER BY round DESC LIMIT 1"))
        if not rows:
            return None
        row = rows[0]
        return row["round"], Decision(row["state"], row["reason"], tuple(json.loads(row["improvements"])))

    def _is_advanced(self) -> bool:
        """Whether a process holds the campaign's lock."""
        path = self.folder / "campaign.lock"
        if not path.exists():
            return False
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

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
            if not self._is_advanced():
                reason += f" No process is at it: `glassmap run {self.folder}` goes on."
        if stage is not None and stage["status"] == "failed":
            state, reason = "failed", f"Round {stage['round']}, {stage['name']}: {stage['error']}"
        elif stage is not None and stage["status"] == "waiting":
            asked = len(self.suggestions(round_=stage["round"]))
            missing = len(self.suggestions(round_=stage["round"], pending=True))
            state, reason = "waiting", f"Waiting for {missing} of {asked} measurements of round {stage['round']}."
        elif last is not None and last[1].state != "continue":
            state, reason = last[1].state, last[1].reason
        return Status(state, reason, len(curve), self.n_spectra(), curve[-1].mse if curve else None)


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

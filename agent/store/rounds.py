"""The rounds: how far each stage is, what each batch asks for, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import Suggestion, SuggestionStatus
from glassmap.agent.store.settings import Settings


class Rounds(Settings):
    """The tables `stages`, `batches`, `suggestions`, `verdicts`, `failures` and `progress`."""

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
                [round_, name, now()],
            )
        attempts = "SELECT attempts FROM stages WHERE round = ? AND name = ?"
        return self._db.execute(attempts, [round_, name]).fetchone()[0]

    def end_stage(self, round_: int, name: str, status: str, error: str | None = None) -> None:
        """Set a stage's status; call within the transaction that records its results."""
        self._db.execute(
            "UPDATE stages SET status = ?, finished = ?, error = ? WHERE round = ? AND name = ?",
            [status, now(), error, round_, name],
        )

    def reopen_measuring(self, round_: int, reason: str) -> None:
        """Have a round that was to be trained be measured on; call within a transaction."""
        self._db.execute("DELETE FROM stages WHERE round = ? AND name = 'train'", [round_])
        self.end_stage(round_, "measure", "waiting", reason)

    def last_stage(self) -> dict[str, Any] | None:
        """The stage that the campaign is at."""
        return next(self._db.query("SELECT * FROM stages ORDER BY round DESC, rowid DESC LIMIT 1"), None)

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

    def coverage(self) -> list[Coverage]:
        """How evenly each round's batch, with all before it, covers the space; oldest round first."""
        return [Coverage(**row) for row in self._db.query("SELECT separation, worst, mean FROM batches ORDER BY round")]

    def batch_time(self, round_: int, what: Literal["approved", "ordered"]) -> datetime | None:
        """When a round's batch was approved, or first ordered; None where it wasn't yet."""
        time = next(self._db.query("SELECT approved, ordered FROM batches WHERE round = ?", [round_]))[what]
        return None if time is None else datetime.fromisoformat(time)

    def record_approval(self, round_: int) -> None:
        """Record that a round's batch may be measured; call within a transaction."""
        self._db.execute("UPDATE batches SET approved = ? WHERE round = ? AND approved IS NULL", [now(), round_])

    def record_order(self, round_: int) -> None:
        """Record that a round's batch was ordered, the first time; call within a transaction."""
        self._db.execute("UPDATE batches SET ordered = ? WHERE round = ? AND ordered IS NULL", [now(), round_])

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

    def suggestion_statuses(self, round_: int) -> list[SuggestionStatus]:
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
        return [SuggestionStatus(_suggestion(row), row["state"], row["reason"], row["measurement"]) for row in rows]

    def suggestion_status(self, suggestion: Suggestion) -> SuggestionStatus:
        """What became of one suggestion."""
        return next(one for one in self.suggestion_statuses(suggestion.round) if one.suggestion.id == suggestion.id)

    def record_verdict(
        self, suggestion: str, verdict: Literal["rejected", "abandoned", "retracted"], reason: str
    ) -> None:
        """Record that no measurement of a suggestion is waited for any more; call within a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", [suggestion, verdict, reason, self.person, now()]
        )

    def forget_verdict(self, suggestion: str) -> None:
        """Wait for a suggestion's measurement again, failed or not; call within a transaction."""
        self._db.execute("DELETE FROM verdicts WHERE suggestion = ?", [suggestion])
        self._db.execute("DELETE FROM failures WHERE suggestion = ?", [suggestion])

    def record_failure(self, suggestion: Suggestion, reason: str, *, cpu_seconds: float = 0.0) -> None:
        """Record that a suggestion can't be measured, and what trying has cost; call within a transaction."""
        self._db.execute("DELETE FROM progress WHERE suggestion = ?", [suggestion.id])
        self._db.execute("INSERT INTO failures VALUES (?, ?, ?)", [suggestion.id, reason, now()])
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

    def record_progress(self, suggestion: Suggestion, share: float) -> None:
        """Record how much of a measurement is done, 0 to 1; call within a transaction."""
        self._db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", [suggestion.id, share, now()])

    def clear_progress(self) -> None:
        """Forget how far measurements were, as none runs any more; call within a transaction."""
        self._db.execute("DELETE FROM progress")

    def progress(self) -> list[tuple[Suggestion, float]]:
        """The measurements that run, and how much of each is done, 0 to 1."""
        shares = {row["suggestion"]: row["share"] for row in self._db.query("SELECT suggestion, share FROM progress")}
        return [(s, shares[s.id]) for s in self.suggestions(pending=True) if s.id in shares]


def _suggestion(row: Mapping[str, Any]) -> Suggestion:
    return Suggestion(row["id"], row["round"], row["row"], tuple(json.loads(row["composition"])), bool(row["hold_out"]))

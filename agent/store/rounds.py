"""The rounds: how far each stage is, and when each batch was approved and ordered."""

import json
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any, Literal

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import PlannedBy, Stage, StageStatus, WaitingFor
from glassmap.agent.store.settings import Settings

LEARNED = ("curve", "curve_errors", "marks", "decisions")  # tables of what a round's model was judged to be worth


class Rounds(Settings):
    """The tables `stages` and `plans`, and of `batches` the times and the coverage."""

    _stage_began: float | None = None  # by the clock of this process

    def stages(self, *, round_: int | None = None) -> list[Stage]:
        """Return how far each stage is, in the order they were begun; of one round or all."""
        rows = self._rows(
            "SELECT * FROM stages WHERE :round IS NULL OR round = :round ORDER BY round, rowid", {"round": round_}
        )
        return [_stage(row) for row in rows]

    def last_stage(self) -> Stage | None:
        """Return the stage that the campaign is at."""
        row = self._row("SELECT * FROM stages ORDER BY round DESC, rowid DESC LIMIT 1")
        return None if row is None else _stage(row)

    def stage_status(self, round_: int, name: str) -> StageStatus | None:
        """Return a stage's status; None before the first attempt."""
        return self._value("SELECT status FROM stages WHERE round = ? AND name = ?", [round_, name])

    def start_stage(self, round_: int, name: str) -> None:
        """Count an attempt at a stage."""
        self._stage_began = monotonic()
        with self.transaction():
            self.count_time()
            self._execute(
                """INSERT INTO stages (round, name, status, attempts, started) VALUES (?, ?, 'running', 1, ?)
                ON CONFLICT DO UPDATE SET status = 'running', attempts = attempts + 1, started = excluded.started,
                finished = NULL, error = NULL, waiting_for = NULL""",
                [round_, name, now()],
            )

    def end_stage(
        self,
        round_: int,
        name: str,
        status: StageStatus,
        *,
        error: str | None = None,
        waiting_for: WaitingFor | None = None,
    ) -> None:
        """Record how an attempt at a stage ended; call within the transaction that records its results.

        Args:
            round_: Of the stage.
            name: Of the stage.
            status: How it ended.
            error: Why it failed.
            waiting_for: What it waits for.
        """
        self.count_time()
        seconds = 0.0 if self._stage_began is None else monotonic() - self._stage_began
        self._set_stage(round_, name, status, seconds=round(seconds, 3), error=error, waiting_for=waiting_for)

    def begin_again(self, round_: int, *, with_spectra: bool) -> None:
        """Forget a round and all after it; call within a transaction.

        Args:
            round_: Which is planned again, the same alloys from the same seed.
            with_spectra: What was measured in it, too.
        """
        self.measure_again(round_)
        for table in ("stages", "batches", "suggestions", *(("spectra",) if with_spectra else ())):
            self._execute(f"DELETE FROM {table} WHERE round >= ?", [round_])
        for table in ("failures", "progress", "exclusions"):
            self._execute(f"DELETE FROM {table} WHERE suggestion NOT IN (SELECT id FROM suggestions)")

    def measure_again(self, round_: int) -> None:
        """Forget what was learned since a round was planned, and have it measured on; call within a transaction."""
        for table in ("stages", "artefacts", *LEARNED):
            self._execute(f"DELETE FROM {table} WHERE round >= ?", [round_])
        self._execute(
            """INSERT INTO stages (round, name, status, attempts, started, finished)
            VALUES (:round, 'plan', 'done', 1, :now, :now)""",
            {"round": round_, "now": now()},
        )

    def learn_again(self, round_: int) -> None:
        """Forget what the last round's model was judged to be worth, and have it trained again on what is used now.

        Its model and map stay until others take their place; call within a transaction.
        """
        for table in LEARNED:
            self._execute(f"DELETE FROM {table} WHERE round >= ?", [round_])
        self._execute("DELETE FROM artefacts WHERE round > ?", [round_])  # of a training after the stop
        self._execute("DELETE FROM stages WHERE round = ? AND name IN ('train', 'map', 'decide')", [round_])

    def last_round(self) -> int:
        """Return the last round that anything was recorded of; 0 where none was."""
        tables = ("stages", "batches", "suggestions")
        return max(self._value(f"SELECT COALESCE(MAX(round), 0) FROM {table}") for table in tables)

    def reopen_measuring(self, round_: int) -> None:
        """Have a round measure on that has nothing left to learn from or be judged by; call within a transaction."""
        self._execute("DELETE FROM stages WHERE round = ? AND name = 'train'", [round_])
        self._set_stage(round_, "measure", "waiting", waiting_for="other spectra")

    def _set_stage(
        self,
        round_: int,
        name: str,
        status: StageStatus,
        *,
        seconds: float = 0.0,
        error: str | None = None,
        waiting_for: WaitingFor | None = None,
    ) -> None:
        self._execute(
            """UPDATE stages SET status = ?, finished = ?, seconds = seconds + ?, error = ?, waiting_for = ?,
            spectra = (SELECT COUNT(*) FROM spectra), news = (SELECT news FROM campaign)
            WHERE round = ? AND name = ?""",
            [status, now(), seconds, error, waiting_for, round_, name],
        )

    def record_planned_by(self, one: PlannedBy) -> None:
        """Record what a round is planned by, where that is other than before; call within a transaction."""
        self._execute("DELETE FROM plans WHERE since >= ?", [one.since])  # of a round that is planned again
        if (last := self.planned_by(one.since)) is None or last[1:] != one[1:]:
            values = [one.since, json.dumps(one.space), json.dumps(one.planning)]
            self._execute("INSERT INTO plans VALUES (?, ?, ?)", values)

    def planned_by(self, round_: int) -> PlannedBy | None:
        """Return what a round was planned by; None where nothing has changed since the campaign began, as far as known.

        An earlier version recorded it of no round; those before the first of which it is known were planned alike.
        """
        query = "SELECT * FROM plans ORDER BY since <= ? DESC, ABS(since - ?) LIMIT 1"
        row = self._row(query, [round_, round_])
        return None if row is None else PlannedBy(row["since"], json.loads(row["space"]), json.loads(row["planning"]))

    def coverage(self) -> list[Coverage]:
        """Return how evenly each round's batch, with all before it, covers the space; oldest round first."""
        rows = self._rows("SELECT separation, worst, mean FROM batches ORDER BY round")
        return [Coverage(**row) for row in rows]

    def batch_time(self, round_: int, what: Literal["approved", "ordered"]) -> datetime | None:
        """Return when a round's batch was approved, or first ordered; None where it wasn't yet."""
        time: str | None = self._value(f"SELECT {what} FROM batches WHERE round = ?", [round_])
        return None if time is None else datetime.fromisoformat(time)

    def record_approval(self, round_: int) -> None:
        """Record that a round's batch may be measured; call within a transaction."""
        self._execute("UPDATE batches SET approved = ? WHERE round = ? AND approved IS NULL", [now(), round_])

    def record_order(self, round_: int) -> None:
        """Record that a round's batch was ordered, the first time; call within a transaction."""
        self._execute(
            "UPDATE batches SET ordered = ?, ordered_hours = ? WHERE round = ? AND ordered IS NULL",
            [now(), self.hours(), round_],
        )

    def hours_since_order(self, round_: int) -> float | None:
        """Return for how long a round's batch has been ordered, whatever the clock said; None where it isn't yet."""
        ordered: float | None = self._value("SELECT ordered_hours FROM batches WHERE round = ?", [round_])
        return None if ordered is None else max(0.0, self.hours() - ordered)


def _stage(row: Mapping[str, Any]) -> Stage:
    finished = row["finished"]
    times: dict[str, Any] = {
        "started": datetime.fromisoformat(row["started"]),
        "finished": None if finished is None else datetime.fromisoformat(finished),
    }
    return Stage(**{**row, **times})

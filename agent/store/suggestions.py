"""The alloys that the rounds ask for, and what became of each."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from glassmap.agent.outside_text import plain_name
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.shapes import Compositions
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import Excluded, Exclusion, Suggestion, SuggestionStatus
from glassmap.agent.store.settings import Settings

# What a measurement is waited for: the only place that says so.
PENDING = """NOT (
    EXISTS (SELECT 1 FROM spectra WHERE suggestion = suggestions.id AND state <> 'retracted')
    OR EXISTS (SELECT 1 FROM failures WHERE suggestion = suggestions.id)
    OR EXISTS (SELECT 1 FROM exclusions WHERE suggestion = suggestions.id))"""


class Suggestions(Settings):
    """The tables `suggestions`, `exclusions`, `failures` and `progress`, and a row of `batches` for each round."""

    def record_batch(self, round_: int, suggestions: Sequence[Suggestion], coverage: Coverage) -> None:
        """Record the alloys that a round asks for; call within a transaction."""
        self._execute(
            "INSERT INTO batches (round, separation, worst, mean) VALUES (?, ?, ?, ?)", [round_, *map(float, coverage)]
        )
        self.add_to_batch(suggestions)

    def add_to_batch(self, suggestions: Sequence[Suggestion]) -> None:
        """Record alloys at the end of their round's batch; call within a transaction."""
        for s in suggestions:
            self._execute(
                """INSERT INTO suggestions
                SELECT :id, :round, COALESCE(MAX(position) + 1, 0), :row, :composition, :hold_out, :why,
                    :sample, :wafer, :x, :y
                FROM suggestions WHERE round = :round""",
                s._asdict() | {"composition": json.dumps(s.composition), "hold_out": int(s.hold_out)},
            )

    def restore_suggestion(self, suggestion: Suggestion, *, position: int) -> None:
        """Record a suggestion that was lost at its place of the batch; call within a transaction."""
        values = suggestion._asdict() | {
            "composition": json.dumps(suggestion.composition),
            "hold_out": int(suggestion.hold_out),
            "position": position,
        }
        self._execute(
            """INSERT OR IGNORE INTO suggestions (
                id, round, position, row, composition, hold_out, why, sample, wafer, x, y)
            VALUES (:id, :round, :position, :row, :composition, :hold_out, :why, :sample, :wafer, :x, :y)""",
            values,
        )

    def restore_batch(self, round_: int, coverage: Coverage, *, ordered: datetime) -> None:
        """Record of a batch that was lost that it was planned, and ordered then; call within a transaction."""
        time = ordered.isoformat(timespec="milliseconds")
        self._execute(
            """INSERT OR IGNORE INTO batches (round, separation, worst, mean, approved, ordered, ordered_hours)
            SELECT ?, ?, ?, ?, ?, ?, hours FROM campaign""",
            [round_, *map(float, coverage), time, time],
        )

    def suggestions(self, *, round_: int | None = None, pending: bool = False) -> list[Suggestion]:
        """Return suggestions in the order they were made.

        Args:
            round_: Only those of one round.
            pending: Only those that a measurement is waited for.
        """
        rows = self._rows(
            f"""SELECT * FROM suggestions WHERE (:round IS NULL OR round = :round) AND (NOT :pending OR {PENDING})
            ORDER BY round, position""",
            {"round": round_, "pending": pending},
        )
        return [_suggestion(row) for row in rows]

    def targets_before(self, round_: int) -> tuple[list[int], Compositions]:
        """Return what the rounds before one asked for: of each alloy its round, and its atomic fractions."""
        query = "SELECT round, composition FROM suggestions WHERE round < ? ORDER BY round, position"
        rows = self._db.execute(query, [round_]).fetchall()
        compositions = json.loads(f"[{','.join(row[1] for row in rows)}]")  # at once: there may be 100,000
        return [row[0] for row in rows], np.array(compositions, dtype=np.float64).reshape(-1, len(self.elements))

    def suggestions_of_samples(self) -> list[Suggestion]:
        """Return the suggestions that are of a sample that exists or lies on a planned wafer, in their order."""
        return [
            _suggestion(row)
            for row in self._rows("SELECT * FROM suggestions WHERE sample <> '' ORDER BY round, position")
        ]

    def last_planned_round(self) -> int:
        """Return the round whose batch was planned last; 0 before the first."""
        return self._value("SELECT COALESCE(MAX(round), 0) FROM suggestions")

    def count_asked(self) -> dict[int, int]:
        """Return how many alloys each round asks for."""
        query = "SELECT round, COUNT(*) AS count FROM suggestions GROUP BY round"
        return {row["round"]: row["count"] for row in self._rows(query)}

    def suggestion(self, id_: str) -> Suggestion | None:
        """Return a suggestion by its id, if there is one."""
        row = self._row("SELECT * FROM suggestions WHERE id = ?", [id_])
        return None if row is None else _suggestion(row)

    def counts(self, round_: int) -> tuple[int, int]:
        """Return how many alloys a round asks for, and for how many of them a measurement is waited for."""
        asked: int = self._value("SELECT COUNT(*) FROM suggestions WHERE round = ?", [round_])
        return asked, self._value(f"SELECT COUNT(*) FROM suggestions WHERE round = ? AND {PENDING}", [round_])

    def suggestion_statuses(self, round_: int) -> list[SuggestionStatus]:
        """Return what became of each suggestion of a round, in the order they were made."""
        return self._statuses("suggestions.round = ?", [round_])

    def statuses_of_samples(self) -> list[SuggestionStatus]:
        """Return what became of each suggestion that has a sample or lies on a wafer, in the order they were made."""
        return self._statuses("(suggestions.wafer <> '' OR suggestions.sample <> '')")

    def _statuses(self, condition: str, values: Sequence[Any] = ()) -> list[SuggestionStatus]:
        rows = self._rows(
            f"""SELECT suggestions.*, spectra.id AS measurement, CASE
                WHEN spectra.state = 'flagged' THEN 'flagged' WHEN spectra.state = 'used' THEN 'measured'
                WHEN kind IS NOT NULL THEN kind WHEN failures.reason IS NOT NULL THEN 'failed'
                ELSE 'missing' END AS state,
                COALESCE(spectra.reason, exclusions.reason, failures.reason, '') AS reason,
                json_extract(spectra.facts, '$.off_target_at_pct') AS off
            FROM suggestions
            LEFT JOIN spectra ON spectra.id = (
                SELECT id FROM spectra WHERE suggestion = suggestions.id AND state <> 'retracted'
                ORDER BY state = 'flagged', rowid LIMIT 1)
            LEFT JOIN exclusions ON exclusions.suggestion = suggestions.id
            LEFT JOIN failures ON failures.suggestion = suggestions.id
            WHERE {condition} ORDER BY suggestions.round, position""",
            values,
        )
        most = math.inf if self.tolerance_at_pct is None else self.tolerance_at_pct
        return [
            SuggestionStatus(
                _suggestion(row),
                row["state"],
                row["reason"],
                row["measurement"],
                row["off"] if row["off"] is not None and row["off"] > most else None,
            )
            for row in rows
        ]

    def suggestion_status(self, suggestion: Suggestion) -> SuggestionStatus:
        """Return what became of one suggestion."""
        return next(one for one in self.suggestion_statuses(suggestion.round) if one.suggestion.id == suggestion.id)

    def record_hold_out(self, suggestion: Suggestion, *, hold_out: bool) -> None:
        """Hold a measured alloy out of training after all, or not; call within a transaction."""
        for table, column in (("suggestions", "id"), ("spectra", "suggestion")):
            self._execute(f"UPDATE {table} SET hold_out = ? WHERE {column} = ?", [int(hold_out), suggestion.id])

    # --- what is waited for no longer

    def record_exclusion(self, suggestion: str, kind: Exclusion, reason: str) -> None:
        """Record that no measurement of a suggestion is waited for any more; call within a transaction."""
        self._execute(
            "INSERT OR REPLACE INTO exclusions VALUES (?, ?, ?, ?, ?)", [suggestion, kind, reason, self.person, now()]
        )

    def exclusions(self) -> list[Excluded]:
        """Return every suggestion that no measurement is waited for, by a person's word, in the order it was said."""
        rows = self._rows(f"SELECT {', '.join(Excluded._fields)} FROM exclusions ORDER BY rowid")
        return [Excluded(**row) for row in rows]

    def excluded_suggestions(self, wafer: str) -> list[Excluded]:
        """Return the suggestions on a wafer that no measurement is waited for, by a person's word."""
        rows = self._db.execute("SELECT id, wafer FROM suggestions WHERE wafer <> ''")
        there = {id_ for id_, on in rows if plain_name(on) == plain_name(wafer)}
        return [one for one in self.exclusions() if one.suggestion in there]

    def forget_exclusion(self, suggestion: str) -> None:
        """Wait for a suggestion's measurement again, failed or not; call within a transaction."""
        self._execute("DELETE FROM exclusions WHERE suggestion = ?", [suggestion])
        self._execute("DELETE FROM failures WHERE suggestion = ?", [suggestion])

    def record_failure(self, suggestion: Suggestion, reason: str, *, cpu_seconds: float = 0.0) -> None:
        """Record that a suggestion can't be measured, and what trying has cost; call within a transaction."""
        self._execute("DELETE FROM progress WHERE suggestion = ?", [suggestion.id])
        self._execute("INSERT INTO failures VALUES (?, ?, ?)", [suggestion.id, reason, now()])
        self.add_lost_cpu_seconds(cpu_seconds)

    def failures(self, *, round_: int | None = None) -> dict[str, str]:
        """Return why suggestions could not be measured, by their id; of one round or all."""
        rows = self._rows(  # a cross join begins with the table on its left, which is the short one
            """SELECT suggestion, reason FROM failures CROSS JOIN suggestions ON id = suggestion
            WHERE (:round IS NULL OR round = :round) ORDER BY round, position""",
            {"round": round_},
        )
        return {row["suggestion"]: row["reason"] for row in rows}

    def count_failures(self) -> dict[int, int]:
        """Return how many alloys of each round could not be measured."""
        query = "SELECT round, COUNT(*) AS count FROM failures CROSS JOIN suggestions ON id = suggestion GROUP BY round"
        return {row["round"]: row["count"] for row in self._rows(query)}

    def forget_failures(self, round_: int) -> None:
        """Have what failed in a round measured again; call within a transaction."""
        self._execute("DELETE FROM failures WHERE suggestion IN (SELECT id FROM suggestions WHERE round = ?)", [round_])

    # --- how far measurements are

    def record_progress(self, suggestion: Suggestion, share: float) -> None:
        """Record how much of a measurement is done, 0 to 1; call within a transaction."""
        self._execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", [suggestion.id, share, now()])

    def clear_progress(self) -> None:
        """Forget how far measurements were, as none runs any more; call within a transaction."""
        self._execute("DELETE FROM progress")

    def progress(self) -> list[tuple[Suggestion, float]]:
        """Return the measurements that run, and how much of each is done, 0 to 1."""
        rows = self._rows(
            f"""SELECT suggestions.*, share FROM progress CROSS JOIN suggestions ON suggestions.id = suggestion
            WHERE {PENDING} ORDER BY round, position"""
        )
        return [(_suggestion(row), row["share"]) for row in rows]


def _suggestion(row: Mapping[str, Any]) -> Suggestion:
    composition = tuple(json.loads(row["composition"]))
    place = (row["sample"], row["wafer"], row["x"], row["y"])
    return Suggestion(row["id"], row["round"], row["row"], composition, bool(row["hold_out"]), row["why"], *place)

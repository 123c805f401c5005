"""What the rounds came to: models, maps, the learning curve, decisions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassmap.agent.content_hash import harm_of
from glassmap.agent.planning.convergence import CurvePoint, Decision
from glassmap.agent.store.connection import StoreConnection


class Results(StoreConnection):
    """The tables `artefacts`, `curve`, `curve_errors` and `decisions`."""

    def record_artefact(self, round_: int, kind: str, path: Path) -> None:
        """Record a file of the campaign folder; call within a transaction."""
        relative = path.relative_to(self.folder).as_posix()
        self._execute("INSERT OR REPLACE INTO artefacts VALUES (?, ?, ?)", [round_, kind, relative])

    def record_only_artefact(self, round_: int, kind: str, path: Path) -> None:
        """Record a file, and forget those of the same kind of other rounds; call within a transaction."""
        self._execute("DELETE FROM artefacts WHERE kind = ?", [kind])
        self.record_artefact(round_, kind, path)

    def artefact(self, kind: str, round_: int | None = None) -> tuple[int, Path] | None:
        """Return round and path of the `checkpoint`, `map` or `archive` of that round, or the latest; None without."""
        row = self._row(
            """SELECT round, path FROM artefacts WHERE kind = :kind AND (:round IS NULL OR round = :round)
            ORDER BY round DESC LIMIT 1""",
            {"kind": kind, "round": round_},
        )
        return None if row is None else (row["round"], self.folder / row["path"])

    def artefacts(self, kind: str) -> dict[int, Path]:
        """Return the files of a kind, by round."""
        rows = self._rows("SELECT round, path FROM artefacts WHERE kind = ? ORDER BY round", [kind])
        return {row["round"]: self.folder / row["path"] for row in rows}

    def training_ids(self, round_: int) -> list[str] | None:
        """Return what a round's model learned from, measurements' ids; None where its checkpoint isn't as written."""
        found = self.artefact("checkpoint", round_)
        if found is None or harm_of(found[1]) is not None:
            return None
        try:
            return json.loads(found[1].read_text())["record"]["training_ids"]
        except (ValueError, KeyError, TypeError):  # of a version that is gone
            return None

    def record_curve_point(self, point: CurvePoint) -> None:
        """Record what a round's model is worth; call within a transaction."""
        self._execute("INSERT INTO curve VALUES (?, ?, ?, ?, ?)", list(point[:5]))
        for figure, error in point.peak_errors.items():
            self._execute("INSERT INTO curve_errors VALUES (?, ?, ?)", [point.round, figure, error])

    def curve(self) -> list[CurvePoint]:
        """Return the learning curve, oldest round first."""
        errors: dict[int, dict[str, float | None]] = {}
        for row in self._rows("SELECT round, figure, error FROM curve_errors ORDER BY rowid"):
            errors.setdefault(row["round"], {})[row["figure"]] = row["error"]
        rows = self._rows("SELECT * FROM curve ORDER BY round")
        return [CurvePoint(**row, peak_errors=errors.get(row["round"], {})) for row in rows]

    def n_rounds(self) -> int:
        """Return how many rounds' models are judged."""
        return self._value("SELECT COUNT(*) FROM curve")

    def hold_out_mse(self) -> float | None:
        """Return the error of the last round's model on spectra that it never saw."""
        return self._value("SELECT mse FROM curve ORDER BY round DESC LIMIT 1")

    def record_decision(self, round_: int, decision: Decision) -> None:
        """Record whether to go on; call within a transaction."""
        values = [round_, decision.state, decision.reason, json.dumps(decision.improvements)]
        self._execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", values)

    def decision(self) -> tuple[int, Decision] | None:
        """Return the last round that came to a decision, and the decision."""
        row = self._row("SELECT * FROM decisions ORDER BY round DESC LIMIT 1")
        return None if row is None else (row["round"], _decision(row))

    def decisions(self) -> dict[int, Decision]:
        """Return what each round decided."""
        rows = self._rows("SELECT * FROM decisions ORDER BY round")
        return {row["round"]: _decision(row) for row in rows}

    def reopen_decision(self) -> None:
        """Take back the last decision, so that it is made again; call within a transaction."""
        if (last := self.decision()) is not None:
            self._execute("DELETE FROM decisions WHERE round = ?", [last[0]])
            self._execute("DELETE FROM stages WHERE round = ? AND name = 'decide'", [last[0]])


def _decision(row: Mapping[str, Any]) -> Decision:
    return Decision(row["state"], row["reason"], improvements=tuple(json.loads(row["improvements"])))

"""What the rounds came to: models, maps, the learning curve, decisions."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.content_hash import harm_of
from glassmap.agent.errors import StoreError
from glassmap.agent.planning.convergence import CurvePoint, Decision, Estimate, Marks, estimate
from glassmap.agent.shapes import Groups
from glassmap.agent.store.effort import Efforts
from glassmap.agent.store.records import Judged, JudgedSpectra

SAMPLE = "mse_sample"  # of one generated spectrum: recorded beside the measures of the ensemble's mean


class Results(Efforts):
    """The tables `artefacts`, `curve`, `curve_errors`, `marks` and `decisions`."""

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

    def newest(self, kind: str) -> tuple[int, Path]:
        """Return round and path of the newest file of a kind; see `artefact`.

        Raises:
            StoreError: If there is none yet.
        """
        if (found := self.artefact(kind)) is None:
            raise StoreError(f"{self.folder} has no {kind} yet; the first comes with the first round. Let it run on.")
        return found

    def artefacts(self, kind: str) -> dict[int, Path]:
        """Return the files of a kind, by round."""
        rows = self._rows("SELECT round, path FROM artefacts WHERE kind = ? ORDER BY round", [kind])
        return {row["round"]: self.folder / row["path"] for row in rows}

    def artefact_files(self) -> list[Path]:
        """Return every file that is recorded: checkpoints (their JSON half), maps, the archive."""
        return [self.folder / row["path"] for row in self._rows("SELECT path FROM artefacts ORDER BY kind, round")]

    def kinds_of_maps(self) -> list[str]:
        """Return the kinds of maps that are recorded: `map`, and those held at other process variables."""
        return [row["kind"] for row in self._rows("SELECT DISTINCT kind FROM artefacts WHERE kind LIKE 'map%'")]

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
        """Record what a round's model is worth as it is judged now; call within a transaction.

        What it errs on each spectrum is recorded beside, by `record_judged`, so that it can be judged again.
        """
        errors = (None if math.isnan(error) else error for error in (point.mse, point.mse_sample))
        values = [point.round, point.spectra, *errors, point.next_batch_mse]
        self._execute("INSERT INTO curve VALUES (?, ?, ?, ?, ?)", values)
        for measure, found in point.hold_out.items():
            if measure != "mse":
                self._execute("INSERT INTO curve_errors VALUES (?, ?, ?)", [point.round, measure, found.value])

    def record_judged(self, round_: int, kind: Judged, judged: JudgedSpectra, *, since: int) -> None:
        """Record what a round's model errs on each spectrum, in place of what was; call within a transaction.

        Args:
            round_: Of the model.
            kind: Of the spectra.
            judged: One by one.
            since: The first round that is judged by the same spectra.
        """
        errors = np.array(list(judged.errors.values()), dtype="<f4")
        texts = (json.dumps(part) for part in (judged.ids, judged.wafers, list(judged.errors)))
        values = [round_, kind, since, *texts, errors.tobytes()]
        self._execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def judged(self, kind: Judged, *, since: int) -> dict[int, JudgedSpectra]:
        """Return what the models since a round err on each spectrum, by round; of those that go by the same spectra."""
        rows = self._rows("SELECT * FROM marks WHERE kind = ? AND since = ? ORDER BY round", [kind, since])
        return {row["round"]: _judged(row) for row in rows}

    def marks(self, kind: Judged, measure: str, *, since: int) -> Marks:
        """Return what the model of every round since one errs on the same spectra, by one measure.

        Those held out are the newest round's. Those left out are all that any round learned from, NaN where one didn't,
        but what is used no more.
        """
        judged = self.judged(kind, since=since)
        learned = self._rows("SELECT round, spectra FROM curve WHERE round >= ? ORDER BY round", [since])
        spectra = {row["round"]: row["spectra"] for row in learned}
        parts = list(judged.values())[-1:] if kind == "held out" else judged.values()
        wafers = {id_: wafer for part in parts for id_, wafer in zip(part.ids, part.wafers, strict=True)}
        for row in self._rows("SELECT id FROM spectra WHERE state <> 'used'"):
            wafers.pop(row["id"], None)
        unknown = np.full(len(wafers), np.nan)
        found = (judged[round_].of(list(wafers)) if round_ in judged else {} for round_ in spectra)
        errors = np.array([errors.get(measure, unknown) for errors in found]).reshape(len(spectra), len(wafers))
        return Marks(tuple(spectra.values()), errors, groups_of(list(wafers.values())))

    def curve(self) -> list[CurvePoint]:
        """Return the learning curve, oldest round first.

        All models are judged by the newest hold-out, as far as they were, by their checkpoints, when the last round was
        judged; what an earlier version recorded is as it was then, without a standard error.
        """
        then: dict[int, dict[str, Estimate]] = {}
        for row in self._rows("SELECT round, figure, error FROM curve_errors ORDER BY rowid"):
            then.setdefault(row["round"], {})[row["figure"]] = _recorded(row["error"])
        held, left = self._estimates("held out"), self._estimates("left out")
        judged = {row["round"] for row in self._rows("SELECT round FROM marks WHERE kind = 'held out'")}
        efforts, effort = self.efforts(), None
        points: list[CurvePoint] = []
        for row in self._rows("SELECT * FROM curve ORDER BY round"):
            round_, mse, sample = row["round"], _recorded(row["mse"]), _recorded(row["mse_sample"])
            has_hold_out = round_ in judged or round_ not in left
            count, found = (held if has_hold_out else left).get(round_, (0, {}))
            found = {"mse": mse} | then.get(round_, {}) | {SAMPLE: sample} | found
            mse_sample = found.pop(SAMPLE).value
            left_out = left.get(round_, (0, {}))[1]
            numbers = round_, row["spectra"], mse_sample, row["next_batch_mse"], count
            effort = efforts.get(round_, effort)  # a round may have brought nothing
            points.append(CurvePoint(*numbers, found, left_out, has_hold_out, effort))
        return points

    def _estimates(self, kind: Judged) -> dict[int, tuple[int, dict[str, Estimate]]]:
        """Return by round how many spectra its model was judged by, and its mean errors by measure.

        Of those held out, the newest of each that go by the same ones; of those left out, each round's own.
        """
        found: dict[int, tuple[int, dict[str, Estimate]]] = {}
        newest: dict[int, JudgedSpectra] = {}
        for row in self._rows("SELECT * FROM marks WHERE kind = ? ORDER BY round DESC", [kind]):
            judged = _judged(row)
            same = newest.setdefault(row["since"], judged) if kind == "held out" else judged
            errors, groups = judged.of(same.ids), groups_of(same.wafers)
            count = int(np.isfinite(errors["mse"]).sum())
            if count:
                found[row["round"]] = count, {name: estimate(values, groups) for name, values in errors.items()}
        return found

    def n_rounds(self) -> int:
        """Return how many rounds' models are judged."""
        return self._value("SELECT COUNT(*) FROM curve")

    def hold_out_mse(self) -> Estimate | None:
        """Return the error of the last round's model on spectra that it never saw; None before the first.

        Of those learned from, as models say them that left them out, where nothing is held out.
        """
        row = self._row("SELECT round, mse FROM curve ORDER BY round DESC LIMIT 1")
        if row is None:
            return None
        marks = self._row("SELECT * FROM marks WHERE round = ? ORDER BY kind LIMIT 1", [row["round"]])
        if marks is None:
            return _recorded(row["mse"])
        judged = _judged(marks)
        found = estimate(judged.errors["mse"], groups_of(judged.wafers))
        return _recorded(row["mse"]) if math.isnan(found.value) else found  # what judged it is retracted

    def record_decision(self, round_: int, decision: Decision) -> None:
        """Record whether to go on; call within a transaction."""
        nothing = "[]"  # where earlier versions had what their rule went by
        evidence = json.dumps(dict(decision.evidence))
        values = [round_, decision.state, decision.reason, nothing, decision.trend, evidence]
        self._execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", values)

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


def groups_of(wafers: Sequence[str]) -> Groups:
    """Return a number for each wafer, and one of its own for each spectrum whose wafer isn't known."""
    names = [wafer or ("", place) for place, wafer in enumerate(wafers)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def _recorded(error: float | None) -> Estimate:
    """Return an error that was recorded as a mean alone, if it was."""
    return Estimate(math.nan if error is None else error, math.nan)


def _judged(row: Mapping[str, Any]) -> JudgedSpectra:
    ids, wafers, measures = (json.loads(row[name]) for name in ("spectra", "wafers", "measures"))
    errors = np.frombuffer(row["errors"], "<f4").astype(np.float64).reshape(len(measures), len(ids))
    return JudgedSpectra(tuple(ids), tuple(wafers), dict(zip(measures, errors, strict=True)))


def _decision(row: Mapping[str, Any]) -> Decision:
    return Decision(row["state"], row["reason"], row["trend"], json.loads(row["evidence"]))

"""The measurements: their spectra, what else was found, and whether they are used."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from glassmap.agent.data.context import Held
from glassmap.agent.outside_text import plain_name
from glassmap.agent.shapes import Composition, Compositions, Spectra, Spectrum, TakenCompositions
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import Flag, Measurement, MeasurementState, Recorded, Suggestion, UsedAlloys
from glassmap.agent.store.settings import Settings

OFF_TARGET = "json_extract(facts, '$.off_target_at_pct')"  # has an index of its own
FLAGGED_USED = "state = 'used' AND reason <> ''"  # has an index of its own


class Measurements(Settings):
    """The table `spectra`."""

    def taken(self, *, since: int = 0, without: Collection[str] = ()) -> TakenCompositions:
        """Return every composition that was asked for since a round, and every one that was found, shape `(t, e)`.

        Of an alloy that a laboratory found further from its target than its tolerance, the target isn't among them:
        nothing was measured there, so it may be planned again, once. One that was missed twice can't be made. Nor are
        targets on wafers that failed, or lie there and were rejected, as far as they weren't measured.

        Args:
            since: The round.
            without: Wafers that are about to be lost, too.
        """
        condition = f"WHERE round >= {since}" if since else ""  # without, an index is enough
        tables = (self._db.execute(f"SELECT composition FROM {t} {condition}") for t in ("suggestions", "spectra"))
        asked, found = (Counter(text for (text,) in table) for table in tables)
        missed = {text for text in self._missed_targets(since) if asked[text] == 1}
        lost = Counter(self._lost_targets(since, without))
        texts = sorted({text for text in asked if asked[text] > lost[text]} - missed | {*found})
        compositions = json.loads(f"[{','.join(texts)}]")  # at once: there may be 100,000
        return np.array(compositions, dtype=np.float64).reshape(-1, len(self.elements))

    def _missed_targets(self, since: int) -> list[str]:
        """Return the targets, as they are recorded, of which all that was measured lies further off than is allowed."""
        if (tolerance := self.tolerance_at_pct) is None:
            return []
        rows = self._db.execute(
            f"""SELECT composition FROM suggestions WHERE round >= :since AND id IN (
                SELECT suggestion FROM spectra WHERE {OFF_TARGET} > :tolerance AND {OFF_TARGET} IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM spectra WHERE suggestion = suggestions.id
                AND (state = 'retracted' OR {OFF_TARGET} <= :tolerance))""",
            {"since": since, "tolerance": tolerance},
        )
        return [text for (text,) in rows]

    def _lost_targets(self, since: int, without: Collection[str]) -> list[str]:
        """Return the targets, as they are recorded, on lost wafers that weren't measured.

        A wafer that was to be made and was rejected isn't lost: another is to be made, and not the same again.
        """
        made = {plain_name(name) for (name,) in self._db.execute("SELECT name FROM wafers")}
        given_up = [
            (plain_name(name), kind) for name, kind in self._db.execute("SELECT wafer, kind FROM wafer_exclusions")
        ]
        lost = {*map(plain_name, without), *(name for name, kind in given_up if kind == "failed" or name not in made)}
        if not lost:
            return []
        rows = self._db.execute(
            """SELECT composition, wafer FROM suggestions WHERE round >= ? AND wafer <> ''
            AND NOT EXISTS (SELECT 1 FROM spectra WHERE suggestion = suggestions.id)""",
            [since],
        )
        return [text for text, wafer in rows if plain_name(wafer) in lost]

    def off_targets(self, *, since: int) -> list[str]:
        """Return the suggestions, by id, that a laboratory found further off than is allowed, in a round or later."""
        if (tolerance := self.tolerance_at_pct) is None:
            return []
        rows = self._rows(
            f"""SELECT DISTINCT suggestion FROM spectra WHERE {OFF_TARGET} > ? AND {OFF_TARGET} IS NOT NULL
            AND round >= ? AND state <> 'retracted' ORDER BY suggestion""",
            [tolerance, since],
        )
        return [row["suggestion"] for row in rows]

    def taken_samples(self) -> set[tuple[str, str]]:
        """Return wafer and sample, by their plain names, of all that exist and were asked for or measured."""
        asked = self._db.execute("SELECT DISTINCT wafer, sample FROM suggestions WHERE sample <> ''")
        measured = self._db.execute(
            """SELECT COALESCE(json_extract(facts, '$.wafer'), ''), json_extract(facts, '$.sample') FROM spectra
            WHERE json_extract(facts, '$.sample') IS NOT NULL AND state <> 'retracted'"""
        )
        return {(plain_name(wafer), plain_name(name)) for rows in (asked, measured) for wafer, name in rows}

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
        self._execute("DELETE FROM progress WHERE suggestion = ?", [asked.id])
        self._execute(
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
                now(),
                json.dumps(facts or {}),
            ],
        )

    def new_measurement_id(self, suggestion: Suggestion | None) -> str:
        """Return the id of the next measurement of a suggestion, or of the next that nobody asked for."""
        known = {"suggestion": suggestion.id if suggestion else None}
        count: int = self._value("SELECT COUNT(*) FROM spectra WHERE suggestion IS :suggestion", known)
        if suggestion is None:
            return f"u{count + 1:04d}"
        return f"{suggestion.id}-{count + 1}" if count else suggestion.id

    def measurements(self, *, with_fact: str | None = None) -> list[Measurement]:
        """Return every measurement, in the order they came; or only those that found something else, by its name."""
        query = f"""SELECT {", ".join(Measurement._fields)} FROM spectra
            WHERE :fact IS NULL OR json_extract(facts, '$.' || :fact) IS NOT NULL"""
        return [measurement_of(row) for row in self._rows(query, {"fact": with_fact})]

    def measurements_on_wafers(self) -> list[Measurement]:
        """Return every measurement of which it is known on which wafer its sample lies, or where, as they came."""
        rows = self._rows(
            f"""SELECT {", ".join(Measurement._fields)} FROM spectra
            WHERE COALESCE(json_extract(facts, '$.wafer'), json_extract(facts, '$.x')) IS NOT NULL
                OR suggestion IN (SELECT id FROM suggestions WHERE wafer <> '' OR x IS NOT NULL) ORDER BY rowid"""
        )
        return [measurement_of(row) for row in rows]

    def used_alloys(self, *, check: bool, until: int | None = None) -> UsedAlloys:
        """Return the measurements that are used, in the order they came.

        Args:
            check: Whether they are held against their checksums, which of 100,000 takes a second.
            until: Only what came in that round or earlier.
        """
        if check:
            self._refuse_harmed("spectra")
        query = """SELECT id, hold_out, composition FROM spectra
            WHERE state = 'used' AND (:until IS NULL OR round <= :until) ORDER BY rowid"""
        rows = self._db.execute(query, {"until": until}).fetchall()
        compositions = json.loads(f"[{','.join(row[2] for row in rows)}]")  # at once: there may be 100,000
        return UsedAlloys(
            [row[0] for row in rows],
            np.array(compositions, dtype=np.float64).reshape(-1, len(self.elements)),
            np.array([row[1] for row in rows], dtype=bool),
        )

    def count_measured(self) -> dict[int, int]:
        """Return how many measurements came in each round."""
        query = "SELECT round, COUNT(*) AS count FROM spectra GROUP BY round"
        return {row["round"]: row["count"] for row in self._rows(query)}

    def recorded(self) -> Iterator[Recorded]:
        """Yield every measurement with its spectrum, in the order they came, one by one: there may be 100,000."""
        self._refuse_harmed("spectra", "suggestions")
        columns = ", ".join(f"spectra.{name}" for name in Measurement._fields)
        rows = self._rows(
            f"""SELECT {columns}, intensity, suggestions.composition AS target FROM spectra
            LEFT JOIN suggestions ON suggestions.id = spectra.suggestion ORDER BY spectra.rowid"""
        )
        for row in rows:
            intensity, target = row.pop("intensity"), row.pop("target")
            asked = None if target is None else tuple(json.loads(target))
            yield Recorded(measurement_of(row), asked, np.frombuffer(intensity, "<f4"))

    def measurement(self, id_: str) -> Measurement | None:
        """Return a measurement by its id, if there is one."""
        query = f"SELECT {', '.join(Measurement._fields)} FROM spectra WHERE id = ?"
        row = self._row(query, [id_])
        return None if row is None else measurement_of(row)

    def measurements_of(self, hash_: str) -> list[Measurement]:
        """Return the measurements that were read from a content."""
        query = f"SELECT {', '.join(Measurement._fields)} FROM spectra WHERE json_extract(facts, '$.hash') = ?"
        return [measurement_of(row) for row in self._rows(query, [hash_])]

    def told_as(self, array: str) -> list[str]:
        """Return the ids of the measurements that were told from Python as an array, by its hash; none retracted."""
        query = (
            "SELECT id FROM spectra WHERE json_extract(facts, '$.array') = ? AND state <> 'retracted' ORDER BY rowid"
        )
        return [row["id"] for row in self._rows(query, [array])]

    def spectra_of(self, ids: Sequence[str]) -> Spectra:
        """Return the spectra of some measurements, whatever their state, `(n, q)`."""
        rows = [self._db.execute("SELECT rowid, intensity FROM spectra WHERE id = ?", [id_]).fetchone() for id_ in ids]
        self._refuse_harmed("spectra", rows=[row[0] for row in rows])
        found: list[bytes] = [row[1] for row in rows]
        return np.array([np.frombuffer(intensity, "<f4") for intensity in found], dtype=np.float64).reshape(
            len(ids), len(self.axis()[1])
        )

    def spectra(
        self, *, hold_out: bool, round_: int | None = None, since: int = 0
    ) -> tuple[list[str], Compositions, Spectra]:
        """Return ids, measured compositions and spectra that are used, to train on or held out, in the order planned.

        Args:
            hold_out: Which of the two.
            round_: Only what came in that round.
            since: Only what came in that round or later.
        """
        self._refuse_harmed("spectra", "suggestions")  # all: a harmed one might be left out without a word
        rows = list(
            self._rows(
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
            return [], np.empty((0, len(self.elements))), np.empty((0, len(self.axis()[1])))
        return [row["id"] for row in rows], compositions, spectra

    def held_out(self, *, since: int) -> Compositions:
        """Return what is held out and used of what came in a round or later, atomic fraction, `(n, e)`."""
        query = "SELECT composition FROM spectra WHERE hold_out AND state = 'used' AND round >= ?"
        texts = [text for (text,) in self._db.execute(query, [since])]
        return np.array(json.loads(f"[{','.join(texts)}]"), dtype=np.float64).reshape(-1, len(self.elements))

    def n_spectra(self) -> int:
        """Return how many measurements there are."""
        return self._value("SELECT COUNT(*) FROM spectra")

    def count_measurements(self, state: MeasurementState) -> int:
        """Return how many measurements are in a state."""
        return self._value("SELECT COUNT(*) FROM spectra WHERE state = ?", [state])

    def flagged_used(self) -> list[Measurement]:
        """Return the measurements that are flagged and used, and that nobody accepted, in the order they came."""
        query = f"SELECT {', '.join(Measurement._fields)} FROM spectra WHERE {FLAGGED_USED} ORDER BY rowid"
        return [measurement_of(row) for row in self._rows(query)]

    def flags(self, *, most: int) -> tuple[Flag, ...]:
        """Return why measurements are flagged, at most so many that are used and as many that aren't, as they came."""
        found: list[Flag] = []
        for is_used, condition in ((True, FLAGGED_USED), (False, "state = 'flagged'")):
            rows = self._rows(f"SELECT id, reason FROM spectra WHERE {condition} ORDER BY rowid LIMIT ?", [most])
            found += [Flag(row["id"], row["reason"], is_used) for row in rows]
        return tuple(found)

    def count_flagged_used(self) -> int:
        """Return how many measurements are flagged and used, and accepted by nobody."""
        return self._value(f"SELECT COUNT(*) FROM spectra WHERE {FLAGGED_USED}")

    def cpu_seconds(self) -> float:
        """Return what simulations have cost that ended well, s."""
        return self._value("SELECT COALESCE(SUM(json_extract(facts, '$.cpu_seconds')), 0.0) FROM spectra")

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what else each measurement found, by its id."""
        return {row["id"]: json.loads(row["facts"]) for row in self._rows("SELECT id, facts FROM spectra")}

    def contexts_learned(self) -> list[Held]:
        """Return the process variables of each spectrum that is learned from, once each kind."""
        rows = self._rows(
            """SELECT DISTINCT json_extract(facts, '$.context') AS context FROM spectra
            WHERE state = 'used' AND NOT hold_out AND json_extract(facts, '$.context') IS NOT NULL"""
        )
        return [json.loads(row["context"]) for row in rows]

    def set_measurement_state(self, id_: str, state: MeasurementState, reason: str) -> None:
        """Use a measurement or not, from the next training on, for good; call within a transaction."""
        self.outdate_gains()
        self._execute("UPDATE spectra SET state = ?, reason = ?, screened = 1 WHERE id = ?", [state, reason, id_])

    def record_screening(self, ids: Sequence[str]) -> None:
        """Remember that measurements were held against their neighbours; call within a transaction."""
        for id_ in ids:
            self._execute("UPDATE spectra SET screened = 1 WHERE id = ?", [id_])


def measurement_of(row: Mapping[str, Any]) -> Measurement:
    """Return a row of the table, but its spectrum, as a measurement."""
    read: dict[str, Any] = {
        "composition": tuple(json.loads(row["composition"])),
        "facts": json.loads(row["facts"]),
        "hold_out": bool(row["hold_out"]),
        "screened": bool(row["screened"]),
    }
    return Measurement(**{**row, **read})

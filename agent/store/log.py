"""Who did what, when and why; and what people are told of."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from glassmap.agent.store.connection import StoreConnection, now
from glassmap.agent.store.records import LogLine


class AuditLog(StoreConnection):
    """The tables `log` and `notices`."""

    def log(self, event: str, detail: str = "", *, subject: str = "", person: str | None = None) -> None:
        """Add a line to the audit log; call within a transaction.

        Args:
            event: What was done, a word.
            detail: How much, why.
            subject: Id of the suggestion or measurement that it was done to.
            person: Who did it; by default who opened the store.
        """
        self._execute(
            "INSERT INTO log (time, event, detail, person, subject) VALUES (?, ?, ?, ?, ?)",
            [now(), event, detail, self.person if person is None else person, subject],
        )

    def log_lines(self, *, subject: str | None = None) -> list[LogLine]:
        """Return the audit log, oldest first; of one suggestion or measurement, or all."""
        rows = self._rows(
            """SELECT time, person, event, subject, COALESCE(detail, '') AS detail FROM log
            WHERE :subject IS NULL OR subject = :subject ORDER BY id""",
            {"subject": subject},
        )
        return [LogLine(**row) for row in rows]

    def last_log_lines(
        self, most: int, *, events: Sequence[str], people: Sequence[str], text: str
    ) -> tuple[list[LogLine], int]:
        """Return the last lines of the audit log that fit, the last first, and how many fit in all.

        Args:
            most: Lines to return.
            events: Only these; without any, all.
            people: Only theirs; without any, everybody's.
            text: That subject and detail contain, in capitals or not.
        """
        fits = """(:events = '[]' OR event IN (SELECT value FROM json_each(:events)))
            AND (:people = '[]' OR person IN (SELECT value FROM json_each(:people)))
            AND (:text = '' OR INSTR(LOWER(subject || ' ' || COALESCE(detail, '')), LOWER(:text)))"""
        values = {"events": json.dumps(list(events)), "people": json.dumps(list(people)), "text": text, "most": most}
        rows = self._rows(
            f"""SELECT time, person, event, subject, COALESCE(detail, '') AS detail FROM log
            WHERE {fits} ORDER BY id DESC LIMIT :most""",
            values,
        )
        return [LogLine(**row) for row in rows], self._value(f"SELECT COUNT(*) FROM log WHERE {fits}", values)

    def log_words(self, what: Literal["event", "person"]) -> list[str]:
        """Return the events, or the people, of the whole audit log, each once, in alphabetical order."""
        return [row[what] for row in self._rows(f"SELECT DISTINCT {what} FROM log ORDER BY {what}")]

    def last_activity(self) -> datetime:
        """Return when something was logged last; a campaign's first line is that it started."""
        return datetime.fromisoformat(self._value("SELECT time FROM log ORDER BY id DESC LIMIT 1"))

    def record_notice(self, key: str, content: Mapping[str, Any]) -> None:
        """Record what is to be told, unless it is what was told last; call within a transaction.

        Args:
            key: Of the state that the campaign is in.
            content: JSON types.
        """
        last = self._row("SELECT key FROM notices ORDER BY id DESC LIMIT 1")
        if last is None or last["key"] != key:
            statement = "INSERT INTO notices (time, key, content) VALUES (?, ?, ?)"
            self._execute(statement, [now(), key, json.dumps(content)])

    def pending_notices(self, *, tries: int) -> list[tuple[int, dict[str, Any]]]:
        """Return number and content of what was told to nobody yet, and tried less often than that; oldest first."""
        query = "SELECT id, content FROM notices WHERE told IS NULL AND tries < ? ORDER BY id"
        return [(row["id"], json.loads(row["content"])) for row in self._rows(query, [tries])]

    def end_notice(self, id_: int, *, error: str = "") -> None:
        """Record that a notice was told, or why it could not be."""
        with self.transaction():
            told = None if error else now()
            self._execute("UPDATE notices SET tries = tries + 1, told = ? WHERE id = ?", [told, id_])
            if error:
                self.log("not told", error)

"""What holds for a whole campaign: what it began with, what people decided about it, and the axis of its spectra."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from glassmap.agent.errors import StoreError
from glassmap.agent.maps.failure import PeaksFound
from glassmap.agent.maps.glass import GlassRule, GlassShares
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Axis, AxisName
from glassmap.agent.store.clock import ClockReading, seconds_between
from glassmap.agent.store.connection import now
from glassmap.agent.store.log import AuditLog
from glassmap.agent.store.records import Pause, Request, Stage

Key = Literal[
    "elements",
    "config",
    "given",
    "source",
    "fingerprint",
    "guide_fingerprint",
    "read_again",
    "go_on_with",
    "extended_to",
    "extended_limits",
    "lost_cpu_seconds",
    "paused",
    "use_changed",
    "orders_to_write",
    "peaks_found",
    "glass",
    "mixture",
    "misplaced",
    "requests",
]


class Settings(AuditLog):
    """The tables `campaign`, `settings` and `axes`."""

    # --- what it began with

    def record_start(
        self,
        elements: Sequence[str],
        *,
        config: Mapping[str, Any] | None = None,
        given: Mapping[str, Any] | None = None,
        source: str = "",
        fingerprint: str = "",
        guide_fingerprint: str | None = None,
    ) -> None:
        """Record what a campaign begins with, and that it begins now; call within a transaction.

        Args:
            elements: Of its space.
            config: Its settings, JSON types.
            given: What of them was given; the others had their defaults.
            source: Where spectra come from if not from an instrument; empty else.
            fingerprint: Of the data, substrate or potential that it must go on with.
            guide_fingerprint: The same of its guide, if it has one.
        """
        self._execute("UPDATE campaign SET began = ? WHERE began IS NULL", [now()])
        self.count_time()
        self._record("elements", list(elements))
        self._record("config", dict(config or {}))
        self._record("given", dict(given or {}))
        self._record("source", source)
        self._record("fingerprint", fingerprint)
        self._record("guide_fingerprint", guide_fingerprint)

    @property
    def has_begun(self) -> bool:
        """Whether it is recorded what the campaign begins with."""
        return self._setting("config") is not None

    @property
    def lacks_start(self) -> bool:
        """Whether some of what a campaign begins with isn't recorded."""
        keys: tuple[Key, ...] = ("elements", "config", "source", "fingerprint")
        is_known = all(self._setting(key) is not None for key in keys)
        return not is_known or self._row("SELECT 1 FROM axes, campaign") is None

    def forget_start(self) -> None:
        """Make room for what the campaign began with, to be recorded anew; call within a transaction."""
        self._execute("DELETE FROM axes")
        self._execute("INSERT OR IGNORE INTO campaign (id, began) SELECT 1, MIN(time) FROM log")

    @property
    def began(self) -> datetime | None:
        """When the campaign began."""
        time: str | None = self._value("SELECT began FROM campaign")
        return None if time is None else datetime.fromisoformat(time)

    def hours(self) -> float:
        """Return the time since the campaign began, h, whatever a clock said in the meantime."""
        row = self._row("SELECT hours, clock FROM campaign")
        if row is None or row["clock"] is None:
            return 0.0
        return row["hours"] + seconds_between(_reading(row["clock"]), ClockReading.now())[0] / 3600

    def count_time(self) -> None:
        """Count the time since this was last called; call within a transaction.

        A clock that was set, or can't be believed, is a line of the log.
        """
        reading, before = ClockReading.now(), self._value("SELECT clock FROM campaign")
        if before is not None and (wrong := seconds_between(_reading(before), reading)[1]):
            self.log("clock", wrong)
        self._execute("UPDATE campaign SET hours = ?, clock = ?", [self.hours(), json.dumps(reading)])

    @property
    def elements(self) -> list[str]:
        """The elements of the campaign's space.

        Raises:
            StoreError: If the campaign has not begun.
        """
        return self._begun("elements")

    @property
    def config(self) -> dict[str, Any]:
        """The campaign's settings, as JSON has them.

        Raises:
            StoreError: If the campaign has not begun.
        """
        return self._begun("config")

    @property
    def tolerance_at_pct(self) -> float | None:
        """How far off its target a laboratory may find an alloy, of each element; None of who measures otherwise."""
        return self.config.get("backend", {}).get("tolerance_at_pct")

    @property
    def given_settings(self) -> dict[str, Any] | None:
        """What of the settings was given; None where an earlier version recorded them."""
        return self._setting("given")

    @property
    def source(self) -> str:
        """Where spectra come from if not from an instrument; empty else."""
        return self._setting("source") or ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the data, substrate or potential that the campaign must go on with.

        Raises:
            StoreError: If the campaign has not begun.
        """
        return self._begun("fingerprint")

    @property
    def guide_fingerprint(self) -> str | None:
        """The fingerprint of what the campaign's guide measures with, if it has one."""
        return self._setting("guide_fingerprint")

    # --- what changes

    def record_config(self, config: Mapping[str, Any]) -> None:
        """Record that the campaign's settings changed; call within a transaction.

        What a laboratory's files were refused for may be allowed now, so they are read again.
        """
        self._record("config", dict(config))
        self._record("read_again", True)
        self.count_news()

    def record_given_settings(self, given: Mapping[str, Any]) -> None:
        """Record what of the settings is given; call within a transaction."""
        self._record("given", dict(given))

    @property
    def read_again(self) -> bool:
        """Whether files that were refused are to be read again, as settings changed."""
        return bool(self._setting("read_again"))

    def end_reading_again(self) -> None:
        """Record that the files that were refused have been read again; call within a transaction."""
        self._record("read_again", False)

    @property
    def go_on_with(self) -> int | None:
        """The round that goes on without what is missing, as a person decided."""
        return self._setting("go_on_with")

    def record_go_on(self, round_: int | None) -> None:
        """Have a round go on without what is missing, or none; call within a transaction."""
        self._record("go_on_with", round_)

    @property
    def extended_to(self) -> int:
        """The round up to which a person had the campaign go on; 0 where nobody did."""
        return self._setting("extended_to") or 0

    @property
    def extended_limits(self) -> dict[str, int | float]:
        """The limits that a person raised, by the name of the budget: `spectra`, `hours` or `cpu_hours`."""
        return self._setting("extended_limits") or {}

    def record_extension(self, *, to_round: int, limits: Mapping[str, int | float]) -> None:
        """Record how far a person had the campaign go on; call within a transaction."""
        self._record("extended_to", to_round)
        self._record("extended_limits", dict(limits))

    @property
    def use_changed(self) -> list[str]:
        """The measurements that people took out of use or into it, by their ids, since a model was trained last."""
        return self._setting("use_changed") or []

    def toggle_use(self, ids: Iterable[str]) -> None:
        """Remember that measurements are taken out of use or into it, or forget it where that is so twice.

        Who has trained says so with what had changed when it began, so that what changed meanwhile stays; call within
        a transaction.
        """
        self._record("use_changed", sorted({*self.use_changed} ^ {*ids}))

    def outdate_gains(self) -> None:
        """Have what the rest of each wafer would bring reckoned anew; call within a transaction."""
        self._execute("UPDATE wafer_gains SET model = -1")

    @property
    def paused(self) -> Pause | None:
        """Who had the campaign stop before its next stage; None where it isn't paused."""
        pause: dict[str, str] | None = self._setting("paused")
        return None if pause is None else Pause(pause["by"], datetime.fromisoformat(pause["since"]), pause["reason"])

    def record_pause(self, reason: str) -> None:
        """Have the campaign stop before its next stage; call within a transaction."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._record("paused", {"by": self.person, "since": since, "reason": reason})

    def end_pause(self) -> None:
        """Have a paused campaign go on; call within a transaction."""
        self._record("paused", None)

    @property
    def lost_cpu_seconds(self) -> float:
        """What simulations have cost that failed, s; stays where they are tried again."""
        return self._setting("lost_cpu_seconds") or 0.0

    def add_lost_cpu_seconds(self, seconds: float) -> None:
        """Count what a simulation has cost that failed; call within a transaction."""
        self._record("lost_cpu_seconds", self.lost_cpu_seconds + seconds)

    @property
    def peaks_found(self) -> PeaksFound | None:
        """How many first peaks the last map has; None before there is one, or where an older version made it."""
        found: dict[str, Any] | None = self._setting("peaks_found")
        if found is None:
            return None
        pair: dict[str, Any] = {
            "better_range": found["better_range"] and tuple(found["better_range"])
        }  # JSON has lists
        return PeaksFound(**found | pair)

    def record_peaks_found(self, found: PeaksFound) -> None:
        """Record how many first peaks the last map has; call within a transaction."""
        self._record("peaks_found", found._asdict())

    @property
    def glass(self) -> tuple[GlassShares, GlassRule] | None:
        """How much of the last map is a glass, and by what rule; None where it has no such thing, or is older."""
        found: dict[str, Any] | None = self._setting("glass")
        return None if found is None else (GlassShares(**found["shares"]), GlassRule.from_json(found["rule"]))

    def record_glass(self, shares: GlassShares | None, rule: GlassRule) -> None:
        """Record how much of the last map is a glass; call within a transaction.

        Args:
            shares: None where its peaks are no measure of that.
            rule: Of the map.
        """
        self._record("glass", None if shares is None else {"shares": shares._asdict(), "rule": rule.to_json()})

    @property
    def mixture(self) -> str:
        """How samples of one alloy differ by more than their noise, in sentences; empty where none is known to."""
        return visible(self._setting("mixture") or "")

    def record_mixture(self, said: str) -> None:
        """Record how samples of one alloy differ; call within a transaction."""
        self._record("mixture", said or None)

    @property
    def misplaced(self) -> str:
        """Where first peaks don't lie as the volume of their atoms puts them, in sentences; empty where they do."""
        return visible(self._setting("misplaced") or "")

    def record_misplaced(self, said: str) -> None:
        """Record where first peaks don't lie as the volume of their atoms puts them; call within a transaction."""
        self._record("misplaced", said or None)

    @property
    def requests(self) -> list[Request]:
        """The alloys that people asked for, in the order they did."""
        return [Request(**one | {"composition": tuple(one["composition"])}) for one in self._setting("requests") or []]

    def record_requests(self, requests: Sequence[Request]) -> None:
        """Record the alloys that people asked for, in place of what was; call within a transaction."""
        self._record("requests", [one._asdict() for one in requests])

    @property
    def orders_to_write(self) -> list[int]:
        """The rounds whose order files no longer say what is known."""
        return self._setting("orders_to_write") or []

    def mark_order(self, round_: int) -> None:
        """Remember that a round's order file no longer says what is known; call within a transaction."""
        self._record("orders_to_write", sorted({*self.orders_to_write, round_}))

    def unmark_order(self, round_: int) -> None:
        """Remember that a round's order file says what is known; call within a transaction."""
        self._record("orders_to_write", [other for other in self.orders_to_write if other != round_])

    def has_news(self, *, since: Stage) -> bool:
        """Return whether a person, a laboratory's file or other settings changed something after a stage ended."""
        return self._value("SELECT news FROM campaign") > since.news

    # --- the axis

    def record_axis(self, name: AxisName, axis: Axis, wavelength: float | None) -> None:
        """Record the common axis of all spectra; call within a transaction."""
        self._execute("INSERT INTO axes VALUES (1, ?, ?, ?)", [name, wavelength, axis.astype("<f8").tobytes()])

    def axis(self) -> tuple[AxisName, Axis, float | None]:
        """Return name, values and wavelength of the common axis.

        Raises:
            StoreError: If the campaign has not begun.
        """
        row = self._row("SELECT * FROM axes")
        if row is None:
            raise self._not_begun()
        return row["name"], np.frombuffer(row["value"], "<f8").copy(), row["wavelength"]

    def _setting(self, key: Key) -> Any:
        text: str | None = self._value("SELECT value FROM settings WHERE key = ?", [key])
        return None if text is None else json.loads(text)

    def _begun(self, key: Key) -> Any:
        if (value := self._setting(key)) is None:
            raise self._not_begun()
        return value

    def _not_begun(self) -> StoreError:
        return StoreError(f"The campaign in {self.folder} has not begun. `glassmap run {self.folder}` begins it.")

    def _record(self, key: Key, value: object) -> None:
        self._execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [key, json.dumps(value)])


def _reading(text: str) -> ClockReading:
    return ClockReading(*json.loads(text))

"""Time that a campaign can count on though a computer's clock can't be: it is set, runs wrong, or begins at 1970.

Within one run of the computer the time since its start is counted, which nobody sets; between two, the difference of
the clock, where that is plausible.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

PLAUSIBLE_SECONDS = 90 * 86400.0  # that a campaign may lie still while its computer is off
SET_SECONDS = 60.0  # by which a clock that was set differs from one that was corrected
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else uuid4().hex  # else of this process
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first goes on while a computer sleeps


class ClockReading(NamedTuple):
    """What the clocks of a computer show at one moment."""

    start: str  # which start of which computer `steady` counts from
    steady: float  # s
    wall: float  # s, since 1970

    @classmethod
    def now(cls) -> "ClockReading":
        """Read the clocks."""
        return cls(_START, time.clock_gettime(_STEADY), time.time())


def seconds_between(before: ClockReading, after: ClockReading) -> tuple[float, str]:
    """Return the seconds from one reading to a later one, and what is wrong with the clock, if anything, in words.

    Where the clock can't be believed and nothing else is known, no time counts.
    """
    wall = after.wall - before.wall
    then, now = _date(before), _date(after)
    if before.start == after.start and (steady := after.steady - before.steady) >= 0:
        if abs(wall - steady) <= SET_SECONDS:
            return steady, ""
        return steady, f"the clock was set, from {then} to {now} within {steady:.0f} s; those count"
    if 0 <= wall <= PLAUSIBLE_SECONDS:
        return wall, ""
    return 0.0, f"the clock went from {then} to {now} while nobody was at it; no time counts between"


def _date(reading: ClockReading) -> str:
    return datetime.fromtimestamp(reading.wall, UTC).isoformat(timespec="minutes")

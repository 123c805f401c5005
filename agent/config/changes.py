"""What differs between two states of a campaign's settings: one line a setting, and how it is put back."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

LONGEST = 200  # characters of a value, as it is repeated
SECRET = ("notify.url", "notify.command")  # may hold a key or a password, so that no log repeats them
MOST = 4  # changes that are told one by one where all are refused


class Change(NamedTuple):
    """A setting that changed."""

    name: str  # with its tables before it, such as `space.bounds_at_pct.V`
    before: Any  # JSON types; None where it wasn't set
    after: Any

    def __str__(self) -> str:
        """Say it, such as `planning.batch: 20 -> 10`; of what may be secret not the values."""
        if self.name in SECRET:
            before, after = ("not set" if value is None else "set" for value in (self.before, self.after))
            return f"{self.name}: changed" if before == after else f"{self.name}: {before} -> {after}"
        return f"{self.name}: {_say(self.before)} -> {_say(self.after)}"

    @property
    def undone(self) -> str:
        """What `glassmap change` is given to put the old value back; a value in JSON is one in TOML."""
        return shlex.quote(f"{self.name}={'' if self.before is None else _json(self.before)}")


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return which settings differ, in their order.

    Args:
        before: Settings as they were, JSON types.
        after: As they are.
    """
    then, now = dict(_flat(before)), dict(_flat(after))
    return [Change(name, then.get(name), now.get(name)) for name in now | then if then.get(name) != now.get(name)]


def say_changes(changes: Sequence[Change]) -> str:
    """Return changes in a line, the first of them if they are many."""
    more = f"; and {len(changes) - MOST} more" if len(changes) > MOST else ""
    return "; ".join(map(str, changes[:MOST])) + more


def say_undoing(changes: Sequence[Change], folder: Path) -> str:
    """Return how old values are put back: by a command, unless they are many."""
    if len(changes) > MOST:
        return "in the campaign file"
    return f"with `glassmap change {shlex.quote(str(folder))} {' '.join(one.undone for one in changes)}`"


def _flat(table: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """Return each setting with its full name; one that isn't set isn't there."""
    flat = list[tuple[str, Any]]()
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat += _flat(cast("Mapping[str, Any]", value), f"{place}{name}.")
        elif value is not None:
            flat.append((f"{place}{name}", value))
    return flat


def _say(value: object) -> str:
    text = "not set" if value is None else _json(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

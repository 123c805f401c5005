"""Settings of earlier versions, which campaign files and stores still spell out."""

import json
from collections.abc import Mapping
from typing import Any, cast

from glassmap.agent.config.backends import kind_of
from glassmap.agent.errors import CampaignError
from glassmap.agent.models import config as models

# Table and name of what is gone, and the value that now always holds.
GONE: dict[tuple[str, str], Any] = {
    ("guide", "learn"): False,  # models that learned from the guide's spectra as well were worse, see docs/results.md
    **{("model", name): value for name, value in models.RETIRED.items()},
}
# Table and name of what came later, and the value that says what was done before.
LATER: dict[tuple[str, str], Any] = {
    ("spectrum", "scale"): "maximum",
    **{("model", name): value for name, value in models.LATER.items()},
    ("stop", "on"): "mse",
}
LATER_OF_REPLAYS = {"flagged": "use"}  # the same, of a table of a backend that is a replay
# Recorded values that stood for a default which now depends on a setting that came later.
NOW_DEPENDS: dict[tuple[str, str], tuple[Any, str]] = {("stop", "tolerance"): (0.05, "on")}
RENAMED = {("backend", "doubtful"): "flagged"}


def without_retired(
    settings: Mapping[str, Any], *, source: str, is_recorded: bool = False, place: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return settings under their names of today, without those that are gone.

    Args:
        settings: As a campaign file or a store of any version holds them.
        source: Where they are from, for messages.
        place: Of the table that `settings` are, within the file.
        is_recorded: Whether they are a store's: nobody can correct those, so what is gone is left out whatever it was,
            and what came later is as it was done.

    Raises:
        CampaignError: If one that is gone has another value than what now always holds, or one is given under its old
            name and its new one.
    """
    table_name = place[-1] if place else ""
    current: dict[str, Any] = {}
    if is_recorded:
        current = {name: value for (table, name), value in LATER.items() if table == table_name}
        if table_name == "backend" and kind_of(settings) == "replay":
            current |= LATER_OF_REPLAYS
    for name, value in settings.items():
        key = (table_name, name)
        full = ".".join((*place, name))
        if key in GONE:
            if value != GONE[key] and not is_recorded:
                was = "what it was by default" if GONE[key] is None else json.dumps(GONE[key])
                given = json.dumps(value, default=str)  # a date is none of JSON's
                raise CampaignError(
                    f"{source}: {full} is no longer a setting; it is always {was}, and here it is "
                    f"{given}. Take it out, or go on with the version that the campaign began with."
                )
        elif key in RENAMED:
            if RENAMED[key] in settings:
                raise CampaignError(f"{source}: {full} is called {RENAMED[key]} now; give that alone.")
            current[RENAMED[key]] = value
        elif is_recorded and _now_depends(key, value, settings):
            current[name] = None
        elif isinstance(value, Mapping):
            table = cast("Mapping[str, Any]", value)
            current[name] = without_retired(table, source=source, place=(*place, name), is_recorded=is_recorded)
        else:
            current[name] = value
    return current


def _now_depends(key: tuple[str, str], value: object, settings: Mapping[str, Any]) -> bool:
    """Return whether a value was the default of a version that lacked what the default depends on now."""
    return key in NOW_DEPENDS and value == NOW_DEPENDS[key][0] and NOW_DEPENDS[key][1] not in settings


def without_old_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that a replay of then had by default and one of today hasn't, at any depth."""
    return {
        name: without_old_defaults(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if (name, value) not in LATER_OF_REPLAYS.items()
    }

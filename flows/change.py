"""Change: settings of a campaign that runs, in its file and in its log, by who says so and why."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.changes import Change, changes_between, say_changes
from glassmap.agent.config.toml_file import edited, parse_toml, read_text
from glassmap.agent.errors import CampaignError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME as STORE
from glassmap.flows.rounds.campaign import Start, continued, next_round, open_backends, record_settings
from glassmap.flows.rounds.candidates import known_candidates

Settings = dict[tuple[str, ...], Any]  # by their place, such as `("planning", "batch")`

OF_PLANS = ("planning", "space", "candidates", "wafer", "cost")  # tables that count from the next plan on
_NAME = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")


def change(folder: Path, assignments: Sequence[str], reason: str, *, person: str) -> str:
    """Change settings in a campaign's file, comments kept, and log them; what is wrong or not free changes nothing.

    They count from the next plan, or the next stage, on, also for a process that is at the campaign right now.

    Args:
        folder: The campaign's.
        assignments: Such as `planning.batch=10`, `space.bounds_at_pct.V=[5, 60]`, or `stop.max_hours=`, which takes it
            out, so that it is as by default.
        reason: Why, for the log; may be empty.
        person: Who says so, for the log.

    Returns:
        What changed, in words.

    Raises:
        CampaignError: If one can't be read, is unknown or impossible, or the recorded rounds depend on it.
        DatasetError: If a table that is named can't be read.
        StoreError: If the store can't be amended.
    """
    path = folder / FILE_NAME
    text = read_text(path)
    before = parse_toml(text, path)
    wanted = dict(map(_read, assignments))
    if len(wanted) < len(assignments):
        raise CampaignError(f"Say each setting of `glassmap change` once; got {', '.join(assignments)}.")
    settings, new = _with(before, wanted), edited(text, wanted)
    if parse_toml(new, path) != settings:
        raise CampaignError(
            f"{path} is written in a way that only a person can change: edit it, and `glassmap run {folder}` takes it."
        )
    config = CampaignConfig.in_file(settings, path)
    if (folder / STORE).exists():
        with CampaignStore.amend(folder, person=person) as store:
            if (start := Start.of(store)) is not None:
                _check_free(config.continuing(start.config, given=start.given), start)
                whole = continued(config, start, folder)
                backend, _ = open_backends(whole, folder, start)
                known_candidates(whole, backend, store)  # refuses a space without any
                with store.transaction():
                    write_whole(path, new.encode())
                    changes = record_settings(store, whole, config.given, person=person, reason=reason)
                return _say(changes, _say_since(store, changes))
    then = CampaignConfig.in_file(before, path)
    write_whole(path, new.encode())
    changes = changes_between(then.model_dump(mode="json"), config.model_dump(mode="json"))
    return _say(changes, "The campaign begins with that.")


def _check_free(config: CampaignConfig, start: Start) -> None:
    """Refuse to change what the recorded rounds depend on."""
    if changes := config.binding_changes(start.config):
        raise CampaignError(
            f"What was measured and learned rests on that, so it can't change: {say_changes(changes)}. Begin another "
            f"campaign with `glassmap init`. {config.say_free()}"
        )


def _say(changes: Sequence[Change], since: str) -> str:
    """Return what changed, a line each, and from when on that counts."""
    return "\n".join([*map(str, changes), since]) if changes else "That is what it was; nothing changed."


def _say_since(store: CampaignStore, changes: Sequence[Change]) -> str:
    """Return from when on changes count."""
    of_plans = [one.name.partition(".")[0] in OF_PLANS for one in changes]
    since = "the next stage"
    if any(of_plans):
        plan = f"the plan of round {store.last_planned_round() + 1}"
        since = plan if all(of_plans) else f"{plan}, what doesn't concern plans from {since}"
    said = f"Counts from {since} on."
    if any(one.name.partition(".")[0] == "cost" for one in changes):
        said += " Hours of wafers and spectra that were measured before are counted by it, too."
    if next_round(store) is None:
        said += f" The campaign has stopped; `glassmap extend {store.folder} --rounds 1` has it go on."
    return said


def _read(assignment: str) -> tuple[tuple[str, ...], Any]:
    """Read `planning.batch=10`; a value that is no TOML is a text, as shells take quotes away."""
    name, equals, value = (part.strip() for part in assignment.partition("="))
    if not equals or not _NAME.fullmatch(name):
        raise CampaignError(
            "Say settings as TABLE.NAME=VALUE, as in `glassmap change campaigns/lab planning.batch=10 "
            f"'space.bounds_at_pct.V=[5, 60]'`; got {assignment!r}."
        )
    place = tuple(name.split("."))
    if not value:
        return place, None
    try:
        return place, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        if value[0] in "[{\"'" or "\n" in value:
            raise CampaignError(
                f"Can't read the value of {name} in {assignment!r}: {error}. `glassmap change` takes values as a "
                "campaign file has them."
            ) from error
        return place, value


def _with(settings: Mapping[str, Any], wanted: Settings) -> dict[str, Any]:
    """Return settings with others in their place."""
    changed: dict[str, Any] = deepcopy(dict(settings))
    for (*tables, name), value in wanted.items():
        table = changed
        for part in tables:
            if not isinstance(table.setdefault(part, {}), dict):
                raise CampaignError(
                    f"{part} is no table in the campaign file, so `glassmap change` can't set "
                    f"{'.'.join((*tables, name))}."
                )
            table = table[part]
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    return changed

"""What is wrong with settings, in words: which one, its rule, the value found."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from glassmap.agent.config.backends import BackendSettings, kind_of, settings_of

LONGEST = 100  # characters of a value, as it is repeated


def explain(error: ValidationError, settings: Mapping[str, Any], table: type[BaseModel]) -> str:
    """Return all that is wrong with settings that were read as a `table`."""
    return "; ".join(_explain(item, settings, table) for item in error.errors())


def _explain(item: ErrorDetails, settings: Mapping[str, Any], table: type[BaseModel]) -> str:
    """Return one complaint of pydantic as rule, value and remedy."""
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = ", ".join(_table_at(item["loc"][:-1], settings, table).model_fields)
        return f"unknown setting {place!r}; allowed here: {known}"
    if item["type"] == "missing":
        return f"setting {place!r} is missing"
    message = item["msg"].removeprefix("Value error, ").rstrip(".")
    value = "" if item["type"] == "value_error" else f", got {_short(item['input'])}"
    return (f"{place}: " if place else "") + message + value


def _short(value: object) -> str:
    """Return a value as it is repeated in a message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _table_at(loc: tuple[int | str, ...], settings: Mapping[str, Any], table: type[BaseModel]) -> type[BaseModel]:
    """Return the class of the table at a place within settings."""
    for part in map(str, loc):
        settings = settings[part]
        annotation = table.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        table = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
        if table is BackendSettings:
            table = settings_of(kind_of(settings))
    return table

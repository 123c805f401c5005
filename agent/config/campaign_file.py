"""The text of a campaign file: a line a setting, with what it means; what isn't set is commented out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import tomli_w
from pydantic import BaseModel

HEAD = """\
# Settings of a glassmap campaign; docs/campaign-file.md says more of each. A line that begins with # isn't set: what it
# shows is an example, or the default of a table that isn't there. What has a *, a setting or a whole table, may change
# while the campaign runs, here or by `glassmap change`; on the rest stands what was found.
"""
WIDTH = 40  # of a setting, before what it means


def write_settings(settings: BaseModel, free: Mapping[str, Any]) -> str:
    """Return the text of a campaign file.

    Args:
        settings: The whole tree.
        free: What may change while a campaign runs: by name True of a setting or a whole table, the free settings of
            another table, or such a mapping for a table in which there are tables.
    """
    lines = [HEAD, *_table(type(settings), settings, (), free)]
    return "\n".join(lines) + "\n"


def _table(
    kind: type[BaseModel], settings: BaseModel | None, place: tuple[str, ...], free: object, *, mark: str = ""
) -> Iterator[str]:
    """Write a table's own settings, then the tables in it.

    Args:
        kind: The table's class.
        settings: Its values; None where it isn't set, which comments it out.
        place: Its name, with those of the tables that it lies in.
        free: As of `write_settings`, or whether all of it is.
        mark: Before every line; "# " comments it out.
    """
    values = {} if settings is None else settings.model_dump(mode="json")
    tables: list[tuple[str, type[BaseModel]]] = []
    for name, field in kind.model_fields.items():
        if (inner := _class_of(field.annotation, None if settings is None else getattr(settings, name))) is not None:
            tables.append((name, inner))
            continue
        value = values.get(name, field.get_default())
        is_unset = value is None or value in ({}, [], ()) or (settings is None and field.is_required())
        if is_unset:
            value = (field.examples or [_first_choice(field.annotation)])[0]
        star = "* " * (free is not True and _is_free(free, name))  # else the whole table has one
        yield f"{(mark or '# ' * is_unset) + _line(name, value):{WIDTH}}  # {star}{field.description}"
    for name, inner in tables:
        description, where = kind.model_fields[name].description, (*place, name)
        value = None if settings is None else getattr(settings, name)
        within = _within(free, name)
        several: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, tuple) else (value,)
        is_list = isinstance(value, tuple) or _is_list(kind.model_fields[name].annotation)
        for one in several or (None,):
            comment = mark or "# " * (one is None)
            header = f"[[{'.'.join(where)}]]" if is_list else f"[{'.'.join(where)}]"
            star = "* " * (within is True and free is not True)
            yield f"\n# {star}{description}\n{comment}{header}"
            yield from _table(inner, one, where, within, mark=comment)


def _class_of(annotation: Any, value: Any) -> type[BaseModel] | None:
    """Return the class of a table, or of those in a list of tables; None of a setting."""
    if isinstance(value, BaseModel):
        return type(value)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _class_of(one, None)) is not None), None)


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple


def _first_choice(annotation: Any) -> Any:
    """Return the first of the values that a setting may have."""
    choices = [choice for one in (annotation, *get_args(annotation)) for choice in get_args(one)]
    return next((choice for choice in choices if isinstance(choice, str)), "")


def _is_free(free: object, name: str) -> bool:
    if isinstance(free, Mapping):
        return cast("Mapping[str, object]", free).get(name) is True
    return free is True or (isinstance(free, set) and name in free)


def _within(free: object, name: str) -> object:
    """Return which settings are free of a table in a table."""
    if isinstance(free, Mapping):
        return cast("Mapping[str, object]", free).get(name, False)
    return _is_free(free, name)


def _line(name: str, value: Any) -> str:
    return f"{_plain({name: 0}).removesuffix(' = 0')} = {_value(value)}"


def _value(value: Any) -> str:
    """Return a value as TOML, on one line."""
    match value:
        case dict():
            return "{" + ", ".join(_line(key, one) for key, one in cast("dict[str, Any]", value).items()) + "}"
        case list() | tuple():
            return f"[{', '.join(map(_value, cast('Sequence[Any]', value)))}]"
        case Path():
            return _value(str(value))
        case _:
            return _plain({"value": value}).removeprefix("value = ")


def _plain(table: dict[str, Any]) -> str:
    return tomli_w.dumps(table).rstrip("\n")

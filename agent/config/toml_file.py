"""A campaign file as text: read, where what is no TOML is refused with its line, and edited, comments kept."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from glassmap.agent.errors import CampaignError

MAX_BYTES = 1_000_000  # a file of every setting has three thousand
MAX_DEPTH = 20  # of tables and lists within each other; settings need five


def read_toml(path: Path) -> dict[str, Any]:
    """Read a campaign file's settings, unchecked.

    Raises:
        CampaignError: If the file is missing, too large, no TOML, or nested more deeply than any settings are.
    """
    return parse_toml(read_text(path), path)


def read_text(path: Path) -> str:
    """Read a campaign file as it is.

    Raises:
        CampaignError: If it is missing, too large or no text.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise CampaignError(f"{path} has {size} bytes, a campaign file at most {MAX_BYTES}. Is it another file?")
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise CampaignError(f"No campaign file at {path}. Make one with `glassmap init {path.parent}`.") from error
    except UnicodeDecodeError as error:
        raise CampaignError(f"{path} is not valid TOML: it is no text in UTF-8 ({error}).") from error


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Read settings from the text of a campaign file, unchecked.

    Raises:
        CampaignError: If it is no TOML, or nested more deeply than any settings are.
    """
    try:
        settings = tomllib.loads(text)
        if _is_deeper(settings, than=MAX_DEPTH):
            raise RecursionError
    except RecursionError as error:
        line = _line_with_most(text, lambda line: sum(map(line.count, "[{.")))
        raise CampaignError(
            f"{path}, line {line}: tables and lists may lie {MAX_DEPTH} deep in each other at most. Correct it."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise CampaignError(f"{path} is not valid TOML: {error}.") from error
    except ValueError as error:  # of a whole number that Python takes for an attack
        line = _line_with_most(text, lambda line: sum(map(str.isdigit, line)))
        raise CampaignError(f"{path}, line {line}: a number has thousands of digits. Correct it.") from error
    return settings


def edited(text: str, changes: Mapping[tuple[str, ...], Any]) -> str:
    """Return the text of a campaign file with other settings; whatever else stands there, comments too, stays.

    A setting that is commented out is set where it stands.

    Args:
        text: Valid TOML.
        changes: Values by their place, such as `("planning", "batch")`; None takes a setting out.
    """
    import tomlkit  # which only this needs

    settings = tomllib.loads(text)
    for place, value in changes.items():
        if value is not None and not _is_set(settings, place):
            text = _with_line(text, place)
    document = tomlkit.parse(text)
    for (*tables, name), value in changes.items():
        table: Any = document
        for part in tables:
            if value is not None and part not in table:
                table[part] = tomlkit.table()
            table = table.get(part, {})
        if value is not None:
            is_line = isinstance(value, dict) and not _is_table(table.get(name))
            table[name] = _on_a_line(cast("dict[str, Any]", value)) if is_line else value
        elif name in table:
            del table[name]
    return tomlkit.dumps(document)


def _is_set(settings: Mapping[str, Any], place: tuple[str, ...]) -> bool:
    """Return whether a setting has a value, on a line or as a table of its own."""
    table: Any = settings
    for part in place:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = cast("Mapping[str, Any]", table)[part]
    return True


def _with_line(text: str, place: tuple[str, ...]) -> str:
    """Return a text in which the line of a setting that isn't set yet, and that of its table, are no comments."""
    *tables, name = place
    lines, header = text.split("\n"), f"[{'.'.join(tables)}]"
    bare_lines = [line.removeprefix("# ") for line in lines]
    begin = next((k for k, bare in enumerate(bare_lines) if bare.startswith(header) and _is_toml(bare)), None)
    for number in range(0 if not tables else len(lines) if begin is None else begin + 1, len(lines)):
        bare = bare_lines[number]
        if bare.startswith("["):
            break  # the next table
        if bare.startswith(f"{name} =") and _is_toml(bare):
            lines[number] = bare
            if begin is not None and tables:
                lines[begin] = bare_lines[begin]
            return "\n".join(lines)
    return text


def _is_table(value: object) -> bool:
    from tomlkit.items import Table

    return isinstance(value, Table)


def _on_a_line(table: dict[str, Any]) -> Any:
    from tomlkit import inline_table

    line: Any = inline_table()
    line.update(table)
    return line


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _line_with_most(text: str, count: Callable[[str], int]) -> int:
    """Return the number of the line with most of something, from 1 on."""
    lines = text.splitlines()
    return 1 + max(range(len(lines)), key=lambda number: count(lines[number]))


def _is_deeper(settings: object, *, than: int) -> bool:
    """Return whether tables and lists lie deeper in each other than that."""
    level: list[object] = [settings]
    for _ in range(than):
        level = [part for whole in level for part in _parts(whole)]
    return any(isinstance(part, dict | list) for part in level)


def _parts(whole: object) -> Sequence[object]:
    if isinstance(whole, Mapping):
        return list(cast("Mapping[str, object]", whole).values())
    return cast("list[object]", whole) if isinstance(whole, list) else []

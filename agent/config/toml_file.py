"""Reading a campaign file: what is no TOML, or none that a person wrote, is refused with its line."""

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
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise CampaignError(f"{path} has {size} bytes, a campaign file at most {MAX_BYTES}. Is it another file?")
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise CampaignError(f"No campaign file at {path}. Make one with `glassmap init {path.parent}`.") from error
    except UnicodeDecodeError as error:
        raise CampaignError(f"{path} is not valid TOML: it is no text in UTF-8 ({error}).") from error
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

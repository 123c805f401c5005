"""Write the pages that are made of the code: `campaign-file.md` of the settings, `commands.md` of the commands.

`make reference` runs it; a test says when a page isn't what it would write.
"""

import inspect
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from glassmap.agent.config.backends import BACKENDS, settings_of
from glassmap.agent.config.campaign import FREE_SETTINGS, CampaignConfig
from glassmap.agent.config.settings import Settings
from glassmap.agent.config.space import CorrectionsConfig
from glassmap.agent.config.tables import TableConfig
from glassmap.agent.config.wafers import GunConfig, MadeWafer
from glassmap.agent.models.config import PRESETS
from glassmap.agent.planning.acquisition import RULES, WEIGHTS
from glassmap.flows.cli.app import app

HERE = Path(__file__).parent
GROUPS = {  # of commands, by the file that they stand in
    "campaigns": "Begin, run, look",
    "show": "What was found",
    "data": "Data sets and simulations",
    "steer": "Decide, as a person",
    "wafers": "Wafers",
    "serve": "While nobody watches",
    "upkeep": "Keep it whole",
}
WORDS = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}

SETTINGS_BEGIN = """\
# The campaign file

`campaign.toml` in a campaign's folder says which alloys may be planned, who measures them, how the model learns and
when enough is measured. It is [TOML](https://toml.io). `glassmap init` writes one with every setting, each with its
meaning beside it. A short one:

```toml
name = "co-v-zr"
seed = 0

[space]
elements = ["Co", "V", "Zr"]
bounds_at_pct = {Co = [5, 85]}  # at.%
limits = ["V + Zr >= 20"]

[backend]
kind = "replay"                 # measure by looking a data set up
dataset = "co-v-zr.nc"

[planning]
batch = 20

[stop]
on = "delta_q"                  # stop once the error of Δq has settled
```

What a file leaves out has its default. An unknown setting is refused by name, a value out of its range with the rule.
Paths are relative to the file's folder. [examples/lab.toml](../examples/lab.toml) is a laboratory's,
[examples/simulated.toml](../examples/simulated.toml) one of a simulation.

*Later* says whether a setting may change once the campaign has begun, by hand or by `glassmap change`; from when it
then counts is in [operations](operations.md#change-ones-mind). What was measured and learned rests on the others.
"""
COMMANDS_BEGIN = """\
# Commands

Every command answers `-h` or `--help` with what stands here. How commands end is in [exit codes](exit-codes.md);
`--json` prints records for programs, `--quiet` errors alone. `glassmap --install-completion` has the shell complete
commands, options and campaigns' folders.
"""


def campaign_file_page() -> str:
    """Return docs/campaign-file.md."""
    tables = {name: _table_of(field) for name, field in CampaignConfig.model_fields.items()}
    top = {name: CampaignConfig.model_fields[name] for name, table in tables.items() if table is None}
    parts = [SETTINGS_BEGIN, "## Above all tables", _rows(top, free=FREE_SETTINGS)]
    for name, table in tables.items():
        if table is None:
            continue
        parts += [f"## [{name}]", CampaignConfig.model_fields[name].description or ""]
        if name == "backend":
            for kind in BACKENDS:
                parts += [f'### kind = "{kind}"', _said(settings_of(kind))]
                fields = {one: field for one, field in settings_of(kind).model_fields.items() if one != "kind"}
                parts.append(_rows(fields, free=settings_of(kind).free))
        else:
            free = table.model_fields if name in FREE_SETTINGS else getattr(table, "free", ())
            parts.append(_rows(table.model_fields, free=free))
        parts += _below(name)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _below(name: str) -> list[str]:
    """Return what stands below the settings of a table: tables within it, and what its words stand for."""
    match name:
        case "spectrum":
            return ["### [spectrum.corrections]", _said(CorrectionsConfig), _rows(CorrectionsConfig.model_fields)]
        case "backend":
            columns = _rows(TableConfig.model_fields, free=TableConfig.model_fields)
            return ["### [backend.table]", "How a laboratory's composition tables are read.", columns]
        case "wafer":
            guns, made = (_rows(table.model_fields, free=table.model_fields) for table in (GunConfig, MadeWafer))
            return ["### [[wafer.guns]]", _said(GunConfig), guns, "### [[wafer.made]]", _said(MadeWafer), made]
        case "planning":
            rules = [(f'`"{rule.name}"`', f"{rule.sentence}.") for rule in RULES.values()]
            leaning = [(f'`"{one.name}"`', one.sentence or "all alloys alike") for one in WEIGHTS.values()]
            return [
                "The rules, `planning.method` ([what they are worth](results.md#planning)):",
                _table(("method", "a batch is"), rules),
                "What a uniform batch leans to, `planning.weights`:",
                _table(("weights", "an alloy counts"), leaning),
            ]
        case "model":
            return [
                "A `preset` stands for these values; what is given beside it counts:",
                _table(("preset", "differs from the defaults in"), [(f'`"{n}"`', _differs(n)) for n in PRESETS]),
            ]
        case _:
            return []


def _differs(preset: str) -> str:
    own = {name: value for name, value in PRESETS[preset] if value != getattr(PRESETS["default"], name)}
    return ", ".join(f"`{name} = {_toml(value)}`" for name, value in own.items()) or "nothing"


def _rows(fields: Mapping[str, FieldInfo], *, free: Collection[str] = ()) -> str:
    """Return a row for each setting; `free` may change later."""
    rows = [
        (f"`{name}`", field.description or "", _kind(field), _default(field), "yes" if name in free else "no")
        for name, field in sorted(fields.items(), key=lambda one: not one[1].is_required())
    ]
    return _table(("setting", "what it means", "value", "by default", "later"), rows)


def _said(table: type[BaseModel]) -> str:
    """Return what a table's class says in its first line, without the names of code."""
    return inspect.cleandoc(table.__doc__ or "").split("\n\n")[0].split("; see `")[0].rstrip(".") + "."


def _table_of(field: FieldInfo) -> type[Settings] | None:
    """Return the class of a table, None of a single setting."""
    options = [field.annotation, *get_args(field.annotation)]
    return next((one for one in options if inspect.isclass(one) and issubclass(one, BaseModel)), None)  # type: ignore[return-value]


def _kind(field: FieldInfo) -> str:
    """Return what values a setting may have."""
    if field.examples and len(field.examples) > 1:  # all that it may be; one is an example
        return " or ".join(f"`{_toml(value)}`" for value in field.examples)
    return _type(field.annotation, field.metadata)


def _type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return in words what a type takes."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        fields = [one for one in inner[1:] if isinstance(one, FieldInfo)]
        limits = [limit for one in fields for limit in one.metadata]
        return _type(inner[0], [*limits, *inner[1:], *metadata])
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in inner)
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType and not (one is int and float in inner)]
        return " or ".join(_type(one, metadata) for one in kinds)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list, each {_type(inner[0])}"
    if origin is tuple:
        return f"`[lowest, highest]`, each {_type(inner[0])}"
    if origin is dict:
        return f"`{{name = …}}`, each {_type(inner[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "a table"
    return WORDS[annotation] + _range(metadata, is_whole=annotation is int)


def _range(metadata: Iterable[Any], *, is_whole: bool) -> str:
    """Return the limits of a number, such as ` from 0 to 100`."""
    low = high = ""
    for limit in metadata:
        match limit:
            case Ge(ge=value):
                low = f" from {_number(value)}"
            case Gt(gt=value):
                low = f" from {_number(value + 1)}" if is_whole else f" above {_number(value)}"
            case Le(le=value):
                high = f" to {_number(value)}"
            case Lt(lt=value):
                high = f" below {_number(value)}"
            case _:
                pass
    return low + high


def _number(value: Any) -> str:
    """Return a limit with its thousands apart, or as a power of ten."""
    is_short = float(value).is_integer() and abs(value) < 1e16
    return f"{int(value):,}".replace(",", "\u202f") if is_short else f"{value:g}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "not set"
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{_toml(value)}`" if value not in ((), {}) else "none"


def _toml(value: Any) -> str:
    """Return a value as the file has it."""
    match value:
        case bool():
            return str(value).lower()
        case str() | Path():
            return f'"{value}"'
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
        case {}:
            return "{" + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + "}"
        case _:
            return str(value)


def commands_page() -> str:
    """Return docs/commands.md."""
    by_group: dict[str, list[Any]] = {group: [] for group in GROUPS}
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:  # type: ignore[union-attr]
            by_group[inspect.unwrap(command.callback).__module__.rpartition(".")[2]].append(command)
    for command in app.registered_commands:
        by_group["upkeep"].append(command)
    parts = [COMMANDS_BEGIN]
    for group, commands in by_group.items():
        rows = [(f"[`{_name(one)}`](#glassmap-{_name(one)})", _help(one)[0].replace("\n", " ")) for one in commands]
        parts.append(f"**{GROUPS[group]}**\n\n" + _table(("command", "what it does"), rows))
    for group, commands in by_group.items():
        parts.append(f"## {GROUPS[group]}")
        parts += [part for command in commands for part in _command(command)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _command(command: Any) -> list[str]:
    """Return what is told of a command."""
    *paragraphs, example = _help(command)
    rows = []
    signature, hints = inspect.signature(command.callback), get_type_hints(command.callback, include_extras=True)
    for name, parameter in signature.parameters.items():
        kind, info = get_args(hints[name])[:2]
        if getattr(info, "hidden", False):
            continue
        is_argument = isinstance(info, typer.models.ArgumentInfo)
        spelled = f"`{(info.metavar or name).upper()}`" if is_argument else _spelled(name, info)
        rows.append((spelled, info.help or "", "" if kind is bool else _option_type(kind, info), _fallback(parameter)))
    return [
        f"### glassmap {_name(command)}",
        *paragraphs,
        f"```console\n{example.removeprefix('Example: ').strip('`')}\n```",
        _table(("argument or option", "what it means", "value", "by default"), rows),
        command.epilog,
    ]


def _name(command: Any) -> str:
    return command.name or command.callback.__name__.replace("_", "-")


def _help(command: Any) -> list[str]:
    """Return the paragraphs of a command's help; the last is its example."""
    return inspect.cleandoc(command.help or command.callback.__doc__).split("\n\n")


def _spelled(name: str, info: Any) -> str:
    """Return an option as it is typed."""
    given = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str) and one.startswith("-")]
    return ", ".join(f"`{one}`" for one in given or [f"--{name.replace('_', '-')}"])


def _option_type(kind: Any, info: Any) -> str:
    """Return what values an option takes."""
    kinds = [one for one in get_args(kind) if one is not NoneType] if get_origin(kind) in (Union, UnionType) else [kind]
    (kind,) = kinds
    if get_origin(kind) is list:
        return f"one or more: {_option_type(get_args(kind)[0], info)}"
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} numbers"
    if inspect.isclass(kind) and hasattr(kind, "__members__"):
        return " or ".join(f"`{member.value}`" for member in kind)
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    limits = [make(value) for make, value in ((Ge, info.min), (Le, info.max)) if value is not None]
    return _type(kind, limits)


def _fallback(parameter: inspect.Parameter) -> str:
    """Return what an option is that isn't given."""
    default = parameter.default
    if default is inspect.Parameter.empty:
        return "required"
    return "" if default is None or default is False or default == "" else f"`{getattr(default, 'value', default)}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    cells = ([cell.replace("\n", " ").replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


PAGES = {"campaign-file.md": campaign_file_page, "commands.md": commands_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())

"""What commands have in common: arguments, options, and how they are read."""

import glob
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def folders_like(incomplete: str) -> list[str]:
    """Return the campaigns that a shell offers to complete what was typed of a folder, here or one folder below."""
    from glassmap.agent.config.campaign import FILE_NAME

    typed = glob.escape(incomplete)
    patterns = (f"{typed}{depth}/{FILE_NAME}" for depth in ("*", "*/*"))
    found = (path for pattern in patterns for path in glob.glob(pattern))  # noqa: PTH207  # ./ stays as it was typed
    return sorted(path.removesuffix(f"/{FILE_NAME}") for path in found)


Folder = Annotated[Path, typer.Argument(help="The campaign's folder.", autocompletion=folders_like)]
Json = Annotated[bool, typer.Option("--json", help="Print records for a program instead, as JSON.")]
Dataset = Annotated[Path, typer.Argument(help="A data set, one NetCDF file; `glassmap import` makes one.")]
Datasets = Annotated[list[Path], typer.Argument(help="Data sets, NetCDF files.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders of campaigns.", autocompletion=folders_like)]
AtOnce = Annotated[int, typer.Option(min=1, help="Most campaigns that are worked on at a time.")]
ContextValues = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        help="NAME=VALUE: a process variable that every model learns, and the value at which plans and maps are held; "
        "several, or NAME=VALUE,VALUE for a map each.",
    ),
]
Where = Annotated[str | None, typer.Option(help="Only the samples for which this holds, e.g. `cleaned`.")]
ScanRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--range", help="Part of the axis to learn from, in its unit; by default a look at the scans says it."
    ),
]
Variable = Annotated[str, typer.Option(help="The spectra of the set, such as intensity or rdf.")]
Preset = Annotated[
    Literal["default", "compact", "large", "paper"],
    typer.Option(help="Network and losses: ours for this device, for a CPU, for a GPU; or as published."),
]
PotentialName = Annotated[
    str, typer.Option("--potential", help="An eam/alloy or eam/fs file; or `zhou` or `zhou-fitted`, generated.")
]
Protocol = Annotated[Literal["quick", "paper"], typer.Option(help="1000 atoms in a minute, or as published.")]
Atoms = Annotated[int | None, typer.Option(help="Number of atoms; the preset's by default.")]
Command = Annotated[str | None, typer.Option(help="That starts LAMMPS, such as `srun -n 8 lmp`.")]


class Split(StrEnum):
    """What a model is judged by."""

    RANDOM = "random"
    WAFER = "wafer"


def given(**options: float | None) -> dict[str, Any]:
    """The options that were given; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def refuse(what: str, **options: Any) -> None:
    """Refuse options that would be ignored."""
    from glassmap.agent.errors import GlassmapError

    if given := [f"--{name}" for name, value in options.items() if value]:
        raise GlassmapError(f"{what} takes no {', '.join(given)}. Leave it out.")


def context_of(options: Sequence[str] | None, *, labels: Collection[str] = ()) -> dict[str, Any]:
    """`rate=high,low` as the values of a process variable; what reads as a number is one.

    Args:
        options: As they were given.
        labels: Variables whose values are labels, whatever they read as.
    """
    from glassmap.agent.errors import GlassmapError

    context: dict[str, Any] = {}
    for option in options or ():
        name, equals, values = option.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise GlassmapError(f"Give process variables as NAME=VALUE, such as rate=high; got {option!r}.")
        name = name.strip()
        each = [value.strip() if name in labels else _value(value.strip()) for value in values.split(",")]
        context[name] = each if len(each) > 1 else each[0]
    return context


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def columns_of(options: Sequence[str] | None) -> dict[str, str] | None:
    """`Zr=Zr norm` as the column of each element; None where none was given."""
    from glassmap.agent.errors import GlassmapError

    columns = dict[str, str]()
    for option in options or ():
        element, equals, column = (word.strip() for word in option.partition("="))
        if not equals or not element or not column or element in columns:
            raise GlassmapError(
                f"Give columns as ELEMENT=COLUMN, each element once, such as Zr='Zr norm'; got {option!r}."
            )
        columns[element] = column
    return columns or None


def numbers(text: str) -> tuple[int, ...]:
    """`5,2` as numbers."""
    from glassmap.agent.errors import GlassmapError

    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise GlassmapError(f"Give whole numbers with commas between, such as 5,2; got {text!r}.") from error

"""What the terminal shows: errors in words, a stage's progress, tables, plain records."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agent.errors import GlassmapError

console = Console(highlight=False)


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Print what glassmap or the system refused and exit with 1; anything else is a bug and keeps its traceback."""
    try:
        yield
    except (GlassmapError, OSError) as error:
        Console(stderr=True).print(f"[bold red]Error:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def say(text: str) -> None:
    """Print a line as it is, paths whole."""
    console.print(text, markup=False, soft_wrap=True)


def print_status(state: str, reason: str) -> None:
    """Where a campaign stands."""
    console.print(f"[bold]{state}[/bold]: {escape(reason)}", soft_wrap=True)


@contextmanager
def progress() -> Iterator[Callable[..., None]]:
    """A bar for the stage at work, with time left; silent when not a terminal."""
    bar = Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None, text="")

    def report(stage: str, done: int, total: int, text: str = "") -> None:
        if done == 0:
            bar.reset(task, description=stage)
        bar.update(task, completed=done, total=total, text=text)

    with bar:
        yield report


def print_learning_curve(curve: Sequence, coverage: Sequence) -> None:
    """A row a round: what was measured, how evenly, and the errors of the model.

    Args:
        curve: `agent.convergence.CurvePoint`s.
        coverage: `agent.acquisition.Coverage` of each round's batch.
    """
    table = Table(
        title="Learning curve: errors on spectra never learned from",
        caption="distance: mean, from an alloy to the nearest measured one; before: MSE of the last round's model on "
        "this round's batch",
    )
    for name in ("round", "spectra", "distance (at.%)", "MSE", "one sample", "q1 (1/Å)", "Δq (1/Å)", "before"):
        table.add_column(name, justify="right")
    for point, cover in zip(curve, coverage, strict=False):
        figures = (
            (cover.mean, ".1f"),
            (point.mse, ".2f"),
            (point.mse_sample, ".2f"),
            (point.q1_error, ".4f"),
            (point.delta_q_error, ".4f"),
            (point.next_batch_mse, ".2f"),
        )
        cells = ("–" if value is None else format(value, style) for value, style in figures)
        table.add_row(str(point.round), str(point.spectra), *cells)
    console.print(table)


def print_records(records: list[dict[str, Any]]) -> None:
    """A row a record, a column a key."""
    table = Table(*(records[0] if records else ()))
    for record in records:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in record.values()))
    console.print(table)


def print_summary(records: list[dict[str, Any]], *, by: Sequence[str], values: Sequence[str], title: str) -> None:
    """Medians over seeds, a row a case; of a single value also the lowest and highest."""
    import pandas as pd

    cases = pd.DataFrame(records).groupby(list(by), sort=False)[list(values)]
    summary = cases.agg(["median", "min", "max"]).droplevel(0, axis=1) if len(values) == 1 else cases.median()
    summary = summary.reset_index()
    table = Table(title=f"{title}, over seeds")
    for column in summary:
        table.add_column(str(column), justify="left" if column in by else "right")
    for row, following in zip(summary.values, [*summary.values[1:], None], strict=True):
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
        table.add_row(*cells, end_section=following is not None and row[0] != following[0])
    console.print(table)


def write_json(path: Path | None, content: Any) -> None:
    """Write plain records, where a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")

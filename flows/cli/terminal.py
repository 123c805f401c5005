"""What the terminal shows: errors in words, a stage's progress, tables, plain records."""

import csv
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from glassmap.agent.data.composition import label
from glassmap.agent.errors import CampaignBusy, GlassmapError
from glassmap.agent.maps.glass import say_glass
from glassmap.agent.outside_text import plain_name, visible
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, said
from glassmap.agent.peaks.measures import MEASURES, MSE
from glassmap.agent.planning.convergence import Estimate
from glassmap.agent.refusals import refusal
from glassmap.flows.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from glassmap.agent.data.dataset import SpectraSet
    from glassmap.agent.maps.regions import Candidates
    from glassmap.agent.peaks.first_look import FirstLook
    from glassmap.agent.planning.acquisition import Coverage
    from glassmap.agent.planning.convergence import CurvePoint
    from glassmap.agent.progress import Report
    from glassmap.agent.store.records import DroppedFile, DroppedScan, LogLine, Measurement, SuggestionStatus
    from glassmap.flows.compare import Ranked
    from glassmap.flows.doctor import Finding
    from glassmap.flows.upkeep.verify import Checked
    from glassmap.simulation.cost import Cost

WATCH_SECONDS = 2.0
NOT_KNOWN = Estimate(math.nan, math.nan)
PAPER_ALLOYS = 1176  # of Zr-Cu-Al at 2 at.%, Xie et al. (2025)


class Terminal(Console):
    """Shows text from outside, such as the names of files, without the characters that would act on a terminal."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Return what is printed for a text."""
        return super().render_str(visible(text, keep="\n"), **how)


console = Terminal(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 140)  # a log has no width


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Print what glassmap or the system refused and end with its exit code; any other error keeps its traceback."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        words = str(error) if isinstance(error, GlassmapError) else refusal(error)
        if words is None and not isinstance(error, OSError):
            raise
        Terminal(stderr=True).print(
            f"[bold red]Error:[/bold red] {escape(words or str(error))}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(ExitCode.BUSY if isinstance(error, CampaignBusy) else ExitCode.REFUSED) from error


@contextmanager
def saying_nothing(is_quiet: bool) -> Iterator[None]:
    """Print no text for people, where that is asked for; errors, and records for programs, are printed all the same."""
    was_quiet = console.quiet
    console.quiet = was_quiet or is_quiet
    try:
        yield
    finally:
        console.quiet = was_quiet


def say(text: str) -> None:
    """Print a line as it is, paths whole."""
    console.print(text, markup=False, soft_wrap=True)


def look_and_say(spectra: "SpectraSet", *, asked: tuple[float, float] | None) -> "FirstLook":
    """Look at scans before anything is learned from them, and print what was seen; see `look_at_scans`.

    Raises:
        DatasetError: If not one of them has a first peak.
    """
    from glassmap.agent.peaks.first_look import look_at_scans

    look = look_at_scans(spectra, asked=asked)
    look.check()
    is_good = look.has_peaks and not look.with_other_anode
    if said := str(look):
        console.print(escape(said), style=None if is_good else "bold red", soft_wrap=True)
    if (volumes := look.volumes) is not None:
        console.print(escape(str(volumes)), style=None if volumes.is_right else "bold red", soft_wrap=True)
    return look


def print_status(state: str, reason: str, failure: str = "", headline: str = "") -> None:
    """Print where a campaign stands; where the sentence says the state, that isn't said twice.

    That its map says nothing is printed in red, and instead of the state; how much of it is a glass is bold.
    """
    from glassmap.agent.store.status import is_said_by, state_in_words

    if failure:
        told, reason = f"[bold red]{escape(failure)}[/bold red]", reason.removeprefix(failure)
    elif is_said_by(reason, state):
        end = len(state_in_words(state))
        told, reason = f"[bold]{escape(reason[:end])}[/bold]", reason[end:]
    else:
        told = f"[bold]{state_in_words(state)}[/bold]: "
    rest = escape(reason).replace(escape(headline), f"[bold]{escape(headline)}[/bold]") if headline else escape(reason)
    console.print(told + rest, soft_wrap=True)


def watch_again_and_again(look: Callable[[], object]) -> None:
    """Print what there is to see every other second, in place of what was printed before, until Ctrl-C."""
    try:
        while True:
            with console.capture() as captured:
                look()
            console.clear()
            console.file.write(captured.get())  # as it is, colours and all
            console.file.flush()
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        pass


@contextmanager
def progress() -> "Iterator[Report]":
    """Show a bar for the stage at work, with round and time left, and the learning curve so far in a line a round.

    Only the lines where the output is no terminal.
    """
    bar = Progress(
        TextColumn("{task.description:16}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None, text="")

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        of_round = "" if round_ is None else f"round {round_}"
        if done == 0:
            bar.reset(task, description=f"{of_round} {stage}".strip())
        bar.update(task, completed=done, total=total, text=text)
        if stage == "decide" and done:
            say(f"{of_round}: {text}")
        if stage == "mend" and done:
            say(text)

    with bar:
        yield report


def print_learning_curve(curve: "Sequence[CurvePoint]", coverage: "Sequence[Coverage]") -> None:
    """Print a row a round: what was measured, how evenly, and the errors of the model; then those by other measures."""
    counts = {point.judged_by for point in curve}
    same = f"all models, by the same {max(counts)} spectra," if len(counts) == 1 and 0 not in counts else "on spectra"
    never = "never learned from" if all(point.has_hold_out for point in curve) else "that each model left out in turn"
    table = Table(
        title=f"Learning curve: {same} {never}; mean ± standard error",
        caption="distance: mean, from an alloy to the nearest measured one; left out: of the spectra learned from, by "
        "models that left them out; before: the last round's model on this round's batch",
    )
    is_by_wafers = any(point.effort is not None for point in curve)
    names = ("wafers", "hours") if is_by_wafers else ()
    for name in ("round", "spectra", *names, "distance (at.%)", "MSE", "of one sample", "left out", "before"):
        table.add_column(name, justify="right")
    others = Table(title="The same, by other measures")
    others.add_column("round", justify="right")
    for measure in MEASURES[1:]:
        head = measure.label.removeprefix("error of ")
        others.add_column(f"{head} ({measure.unit})" if measure.unit else head, justify="right")
    for point, cover in zip(curve, coverage, strict=False):
        mse, left_out = (errors.get(MSE.name, NOT_KNOWN).say() for errors in (point.hold_out, point.left_out))
        before = "–" if point.next_batch_mse is None else f"{point.next_batch_mse:.3g}"
        spent = ("–", "–") if point.effort is None else (str(point.effort.wafers), f"{point.effort.hours:.3g}")
        numbers = (str(point.round), str(point.spectra), *(spent if is_by_wafers else ()), f"{cover.mean:.1f}")
        table.add_row(
            *numbers, mse, "–" if math.isnan(point.mse_sample) else f"{point.mse_sample:.3g}", left_out, before
        )
        known = [point.hold_out.get(measure.name, NOT_KNOWN) for measure in MEASURES[1:]]
        others.add_row(str(point.round), *(error.say() for error in known))
    console.print(table)
    console.print(others)


def print_suggestion_statuses(
    statuses: "Sequence[SuggestionStatus]", measured: "Mapping[str, Measurement]", elements: Sequence[str]
) -> None:
    """Print a row an alloy that was asked for: target, what became of it, and what was found.

    Args:
        statuses: Of one round.
        measured: The measurements by id.
        elements: Of the campaign.
    """
    has_points = any(one.suggestion.sample for one in statuses)
    table = Table("sample", *(["point"] if has_points else []), "target (at.%)", "state", "found (at.%)", "remark")
    for one in statuses:
        found = None if one.measurement is None else measured.get(one.measurement)
        shown = "" if found is None else _alloy(found.composition, elements)
        asked = one.suggestion
        remark = ". ".join(filter(None, ("held out" if asked.hold_out else "", one.remark)))
        names_its_wafer = plain_name(asked.sample).startswith(plain_name(asked.wafer))
        called = asked.sample if names_its_wafer else f"{asked.wafer} {asked.sample}"
        point = [escape(called.strip())] if has_points else []
        target = _alloy(asked.composition, elements)
        table.add_row(asked.id, *point, target, one.state, shown, escape(remark))
    console.print(table)


def print_ledger(
    files: "Sequence[DroppedFile]",
    scans: "Sequence[DroppedScan]",
    statuses: "Sequence[SuggestionStatus]",
    measured: "Sequence[Measurement]",
    elements: Sequence[str],
) -> None:
    """Print how many files, scans, alloys and measurements came to what, and a row for each that needs a look.

    Args:
        files: All that were dropped.
        scans: All of theirs; those of files that hold one are told with the file.
        statuses: Of the alloys of all rounds.
        measured: All measurements.
        elements: Of the campaign.
    """
    of_several = [scan for scan in scans if scan.name]
    for what, states in (
        ("files", [file.state for file in files]),
        *([("scans of files that hold several", [scan.state for scan in of_several])] if of_several else []),
        ("alloys asked for", [one.state for one in statuses]),
        ("measurements", [one.state for one in measured]),
    ):
        counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(states).items()))
        console.print(f"{len(states)} {what}" + (f": {counts}" if counts else ""), soft_wrap=True)
    taken = Table("file", "what it says", title="Composition tables that were taken")
    for file in files:
        if file.state == "used" and file.kind == "table":
            taken.add_row(escape(file.path), escape(file.reason))
    if taken.row_count:
        console.print(taken)
    table = Table("what", "state", "reason", title="To look at")
    for file in files:
        if file.state != "used":
            table.add_row(escape(file.path), file.state, escape(file.reason))
    paths = {file.hash: file.path for file in files if file.state in ("used", "waiting")}
    for scan in of_several:
        if scan.state in ("waiting", "quarantined"):
            state = "refused" if scan.state == "quarantined" else scan.state
            path = paths.get(scan.hash, f"scans/{scan.hash[:16]}*")
            table.add_row(escape(f"{path}, scan {scan.name}"), state, escape(scan.reason))
    for one in measured:
        if one.reason or one.state != "used":
            state = "flagged, used" if one.state == "used" else one.state
            table.add_row(f"{one.id} {_alloy(one.composition, elements)}", state, escape(one.reason))
    if table.row_count:
        console.print(table)


def print_candidates(found: "Candidates", elements: Sequence[str], wish: str) -> None:
    """Print a row a place, what to measure in each, and what may come of that.

    Args:
        found: The places of a map.
        elements: Of the campaign.
        wish: What candidates had to meet, in a phrase; empty where that was nothing.
    """
    if found.glass is not None:
        say(f"{say_glass(found.glass).capitalize()}.")
    if wish:
        say(f"Wished for: {wish}.")
    if not found.places:
        say(found.say_none())
        return
    sure = "of a new measurement" if found.knows_how_sure else "between the base models (epistemic)"
    table = Table(
        caption="The place whose Δq is expected to be largest first. Means over the alloys of a place; ±: std "
        f"{sure}. $ and density: of the centre."
    )
    for name in ("region", "centre", "extent (at.%)", "alloys"):
        table.add_column(name)
    for name in (DELTA_Q.head, "P(glass)", "$/kg", "g/cm³", "measured"):
        table.add_column(name, justify="right")
    for place in found.places:
        table.add_row(
            str(place.region),
            place.alloy,
            place.say_extent(elements),
            f"{place.alloys} ({100 * place.share:.1f} %)",
            DELTA_Q.say(place.delta_q, place.delta_q_predictive_std).removesuffix(f" {DELTA_Q.unit}"),
            said(place.p_glass, None, digits=2, unit=""),
            said(place.cost_per_kg, None, digits=0, unit=""),
            said(place.density, None, digits=1, unit=""),
            place.say_measured(),
        )
    console.print(table)
    for place in found.places:
        say(f"{place.alloy}: {place.say_confirm()}")
    if found.chance is not None:
        say(f"Where nothing was measured: {found.chance.say()}")


def print_checked(checked: "Sequence[Checked]") -> None:
    """Print a row a kind of thing, and a line for each that is wrong."""
    table = Table("what")
    for name in ("looked at", "wrong"):
        table.add_column(name, justify="right")
    for one in checked:
        table.add_row(one.kind, str(one.looked_at), str(len(one.wrong)))
    console.print(table)
    for one in checked:
        for wrong in one.wrong:
            say(f"{one.kind}: {wrong}")


STATES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def print_findings(findings: "Sequence[Finding]") -> None:
    """Print a line a finding, and beneath it what to do about it; at the end, how many there are of each."""
    width = max(len(one.name) for one in findings)
    for one in findings:
        console.print(
            f"[{STATES[one.state]}]{one.state:8}[/] {escape(one.name):{width}}  {escape(one.found)}", soft_wrap=True
        )
        if one.remedy:
            console.print(f"{'':{width + 11}}[dim]{escape(one.remedy)}[/dim]", soft_wrap=True)
    counts = Counter(one.state for one in findings)
    say(", ".join(f"{counts[state]} {state}{'s' * (state != 'ok' and counts[state] != 1)}" for state in STATES) + ".")


def _alloy(composition: Sequence[float], elements: Sequence[str]) -> str:
    return label(np.array(composition), elements)


def print_log(lines: "Sequence[LogLine]") -> None:
    """Print a row a line of the audit log, oldest first, in local time."""
    table = Table("time", "who", "what", "about", "detail")
    for line in lines:
        when = datetime.fromisoformat(line.time).astimezone()
        table.add_row(
            f"{when:%Y-%m-%d %H:%M:%S %Z}", escape(line.person), line.event, line.subject, escape(line.detail)
        )
    console.print(table)


def print_simulation(facts: dict[str, Any]) -> None:
    """Print what a simulation found, a line a figure; `facts` as of `facts_of`, with alloy and atoms."""
    rows = {
        "alloy": f"{facts['alloy']} at.%, {facts['atoms']} atoms",
        "potential": facts["potential"],
        "density": f"{facts['density']:.3f} g/cm3",
        "first peak of g(r)": f"{facts['rdf_peak']:.3f} Å",
        **{f"{figure.label} of S(q)": figure.say(facts.get(figure.name)) for figure in FIGURES},
        "energy": f"{facts['energy']:.4f} eV an atom",
        "measured at": f"{facts['temperature']:.0f} K, {facts['pressure'] / 1e4:.2f} GPa",
        "crystalline atoms": f"{facts['crystalline']:.1%}" + (": crystallised" if facts["is_crystalline"] else ""),
        "seed, CPU time": f"{facts['seed']}, {facts['cpu_seconds']:.0f} s",
    }
    table = Table("figure", "value")
    for name, value in rows.items():
        table.add_row(name, escape(value))
    console.print(table)


def print_costs(costs: "Sequence[Cost]", alloy: str, *, cores: int) -> None:
    """Print the CPU time of an alloy against atoms, and how long a set of the paper's size takes.

    Args:
        costs: By number of atoms.
        alloy: That was timed.
        cores: Simulations side by side.
    """
    presets = list(costs[0].seconds)
    table = Table(
        "atoms",
        *(f"{preset}: CPU s an alloy" for preset in presets),
        *(f"{preset}: {PAPER_ALLOYS} alloys on {cores} core{'s' * (cores > 1)}" for preset in presets),
        title=f"Cost of simulating, timed on {alloy}",
        caption="Timed just now, one core a simulation; busy cores take longer. The largest is scaled up.",
    )
    for cost in costs:
        seconds = [cost.seconds[preset] for preset in presets]
        table.add_row(
            str(cost.atoms), *(f"{s:.0f}" for s in seconds), *(_duration(s * PAPER_ALLOYS / cores) for s in seconds)
        )
    console.print(table)


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def print_ranking(ranking: "Sequence[Ranked]", *, title: str) -> None:
    """Print a row a model, the best first: median and range of its test MSE, then by other measures the medians."""
    sizes = list(ranking[0].mse)
    others = (measure for measure in MEASURES if measure != MSE)
    known = [measure for measure in others if ranking[0].errors.get(measure.name) is not None]
    table = Table(title=title, caption=f"MSE: median (lowest to highest); the rest: mean error after {sizes[-1]}")
    table.add_column("model")
    for name in (*map(str, sizes), *(measure.label for measure in known)):
        table.add_column(name, justify="right")
    for ranked in ranking:
        spread = (f"{median:.3g} ({low:.3g}–{high:.3g})" for median, low, high in ranked.mse.values())
        errors = (measure.say(ranked.errors[measure.name]) for measure in known)
        table.add_row(ranked.model, *spread, *errors)
    console.print(table)


def print_records(records: list[dict[str, Any]]) -> None:
    """Print a row a record, a column a key; empty where a record lacks it."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    table = Table(*keys)
    for record in records:
        values = (record.get(key, "") for key in keys)
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
    console.print(table)


def print_summary(records: list[dict[str, Any]], *, by: Sequence[str], values: Sequence[str], title: str) -> None:
    """Print medians over seeds, a row a case; of a single value also the lowest and highest."""
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


def print_json(is_asked: bool, content: Any) -> None:
    """Print plain records for a program, where they were asked for; what is no number is null, as JSON has none."""
    if is_asked:
        from pydantic_core import to_json

        sys.stdout.write(to_json(content, indent=1, inf_nan_mode="null").decode() + "\n")


def write_csv(path: Path | None, rows: "Sequence[Mapping[str, Any]]") -> None:
    """Write a table, a column a key of the first row, where a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0] if rows else ())
            table.writeheader()
            table.writerows(rows)

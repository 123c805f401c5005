"""What the terminal shows: text from outside, the learning curve, where a campaign stands."""

import math

import pytest
import typer
from rich.markup import escape
from rich.table import Table

from glassmap.agent.errors import DatasetError
from glassmap.agent.peaks.measures import MEASURES
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import CurvePoint, Effort, Estimate
from glassmap.flows.cli.terminal import Terminal, errors_in_words, print_learning_curve, print_status, say

NAME = "a\x1b]0;title\x07\x9b2Jb\u202e.xy"
SHOWN = r"a\x1b]0;title\x07\x9b2Jb\u202e.xy"


def test_control_characters_of_names_are_shown_and_do_not_act(capsys: pytest.CaptureFixture[str]):
    console = Terminal(width=140)
    table = Table("what", title=NAME)
    table.add_row(escape(NAME))
    with console.capture() as captured:
        console.print(table)
        console.print(f"[bold]{escape(NAME)}[/bold]")
        console.print(NAME, markup=False, soft_wrap=True)
    said = captured.get()
    assert said.count(SHOWN) == 4 and not set(said) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_no_command_prints_them(capfd: pytest.CaptureFixture[str]):
    say(f"Written: {NAME}")
    print_status("failed", NAME)
    with pytest.raises(typer.Exit), errors_in_words():
        raise DatasetError(f"{NAME} is none")
    said = "".join(capfd.readouterr())
    assert said.count(SHOWN) == 3 and not set(said) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_what_the_system_refuses_is_one_sentence_whatever_library_ran_into_it_and_a_bug_is_none(
    capfd: pytest.CaptureFixture[str],
):
    with pytest.raises(typer.Exit), errors_in_words():
        raise RuntimeError("Unable to write (errno = 28)")
    said = capfd.readouterr().err
    assert "Error: The disk is full: a file could not be written. Make room" in said and "errno" not in said
    with pytest.raises(RuntimeError, match="shapes"), errors_in_words():
        raise RuntimeError("shapes differ")


def test_the_learning_curve_is_told_with_its_standard_errors_and_by_every_measure(capfd: pytest.CaptureFixture[str]):
    errors = {"mse": Estimate(9.314, 0.82), "delta_q": Estimate(0.04123, 0.0035), "q1": Estimate(math.nan, math.nan)}
    left_out = {"mse": Estimate(11.0, math.nan)}
    point = CurvePoint(1, 16, 9.8, None, 12, errors, left_out)
    print_learning_curve([point, point._replace(judged_by=8)], 2 * [Coverage(1.0, 9.0, 5.0)])
    assert "the same" not in capfd.readouterr().out.splitlines()[0], "one was judged by fewer"
    print_learning_curve([point], [Coverage(1.0, 9.0, 5.0)])
    said = capfd.readouterr().out
    assert "the same 12 spectra" in said and all(measure.label[-2:] in said for measure in MEASURES)
    assert "9.31 ± 0.82" in said and "0.0412 ± 0.0035" in said and " 11 " in said
    assert "wafers" not in said, "of which nothing is known"
    print_learning_curve([point, point._replace(effort=Effort(3, 60, 27.0))], 2 * [Coverage(1.0, 9.0, 5.0)])
    _, *rows = (line.split("│") for line in capfd.readouterr().out.splitlines() if "9.31" in line)
    assert [cell.strip() for cell in rows[0][3:5]] == ["3", "27"]


def test_a_state_that_its_sentence_begins_with_is_told_once(capfd: pytest.CaptureFixture[str]):
    print_status("exhausted", "Budget spent, not converged, after 16 spectra.")
    print_status("converged", "Another 20 alloys would change nothing.")
    said = capfd.readouterr().out.splitlines()
    assert said == [
        "Budget spent, not converged, after 16 spectra.",
        "converged: Another 20 alloys would change nothing.",
    ]

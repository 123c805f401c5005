"""What the terminal shows of text from outside."""

import pytest
import typer
from rich.markup import escape
from rich.table import Table

from glassmap.agent.errors import DatasetError
from glassmap.flows.cli.terminal import Terminal, errors_in_words, print_status, say

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

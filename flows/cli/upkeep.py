"""The commands that look after a campaign's folder: verify, repair, back up."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from glassmap.flows.cli.commands import Commands
from glassmap.flows.cli.exit_codes import ExitCode
from glassmap.flows.cli.options import Folder, Json
from glassmap.flows.cli.terminal import errors_in_words, print_checked, print_findings, print_json, progress, say

upkeep = Commands()
command = partial(upkeep.command, rich_help_panel="Looking after a campaign's folder")


@command(ends=(ExitCode.HARM,))
def doctor(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Of campaigns, or for some; this one by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether this computer has what glassmap needs, and how to mend what it lacks; ends with 6 at a fault.

    Python, packages, torch and its device, LAMMPS and MPI, Prefect, the clock; of each folder its disk, locks, campaign
    file and store.

    Example: `glassmap doctor campaigns/co-v-zr`
    """
    from glassmap.flows.doctor import examine

    with errors_in_words():
        findings = list(examine(folders or [Path()]))
        print_findings(findings)
        print_json(as_json, [one._asdict() for one in findings])
    if any(one.state == "fault" for one in findings):
        raise typer.Exit(ExitCode.HARM)


@command(ends=(ExitCode.HARM,))
def verify(folder: Folder, as_json: Json = False) -> None:
    """Look whether everything a campaign knows is as it was written; reads only, and ends with 6 where it isn't.

    Example: `glassmap verify campaigns/co-v-zr`
    """
    from glassmap.flows.upkeep.verify import verify

    with errors_in_words():
        checked = verify(folder)
        print_checked(checked)
        print_json(as_json, [one._asdict() for one in checked])
    if any(one.wrong for one in checked):
        say(f"`glassmap repair {folder}` makes whole what it can, and says what is lost.")
        raise typer.Exit(ExitCode.HARM)


@command(ends=(ExitCode.BUSY, ExitCode.HARM))
def repair(folder: Folder) -> None:
    """Make a damaged campaign whole again as far as that can be; says what is lost, and ends with 6 if any is.

    Example: `glassmap repair campaigns/co-v-zr`
    """
    from glassmap.flows.actions import current_user
    from glassmap.flows.upkeep.repair import repair

    told = 0
    is_lost = False
    with errors_in_words(), progress() as report:
        for one in repair(folder, report=report, person=current_user()):
            say(one.text)
            told, is_lost = told + 1, is_lost or one.is_lost
    if not told:
        say("Nothing to repair.")
    if is_lost:
        raise typer.Exit(ExitCode.HARM)


@command()
def backup(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The tar file, which must not be there yet.")],
) -> None:
    """Pack a campaign into one file, as it is at this moment, whoever is at work on it.

    Example: `glassmap backup campaigns/co-v-zr -o co-v-zr.tar`
    """
    from glassmap.flows.upkeep.backup import back_up

    with errors_in_words():
        say(f"Packed {back_up(folder, output)} files into {output}.")

"""`glassmap …`: each command opens the store or a data set, calls one function and prints."""

from typing import Annotated

import typer

from glassmap import __version__
from glassmap.flows.cli.campaigns import campaigns
from glassmap.flows.cli.data import data
from glassmap.flows.cli.serve import services
from glassmap.flows.cli.show import show
from glassmap.flows.cli.steer import people
from glassmap.flows.cli.terminal import say
from glassmap.flows.cli.upkeep import upkeep
from glassmap.flows.cli.wafers import wafers

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        say(f"glassmap {__version__}")
        raise typer.Exit


@app.callback(epilog="Exit codes stand in the help of each command; docs/exit-codes.md says what to do about them.")
def _glassmap(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Plan the experiments of an alloy campaign and map where metallic glass forms."""


for commands in (campaigns, show, data, services, people, wafers, upkeep):
    app.add_typer(commands)

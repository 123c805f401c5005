"""`glassmap …`: each command opens the store or a data set, calls one function and prints."""

import typer

from glassmap.flows.cli.campaigns import campaigns
from glassmap.flows.cli.data import data
from glassmap.flows.cli.serve import services
from glassmap.flows.cli.show import show
from glassmap.flows.cli.steer import people
from glassmap.flows.cli.upkeep import upkeep
from glassmap.flows.cli.wafers import wafers

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.callback()
def _glassmap() -> None:
    """Plan the experiments of an alloy campaign and map where metallic glass forms."""


for commands in (campaigns, show, data, services, people, wafers, upkeep):
    app.add_typer(commands)

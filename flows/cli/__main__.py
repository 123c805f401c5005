"""`python -m glassmap.flows.cli` is the command `glassmap`."""

from glassmap.flows.cli.app import app

app(prog_name="glassmap")

"""The command `glassmap` in this process."""

from typer.testing import CliRunner, Result

from glassmap.flows.cli.app import app


def glassmap(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120", "NO_COLOR": "1"})

"""The command `glassmap` in this process."""

from pathlib import Path

from typer.testing import CliRunner, Result

from glassmap.flows.cli.app import app


def glassmap(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120", "NO_COLOR": "1"})


def does(command: str, folder: Path, *words: object) -> str:
    """What a command says of a campaign, which has to succeed."""
    done = glassmap(command, folder, *words)
    assert done.exit_code == 0, done.output
    return done.output

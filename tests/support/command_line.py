"""The command `glassmap` in this process."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from glassmap.flows.cli.app import app
from glassmap.flows.cli.exit_codes import ExitCode


def glassmap(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120", "NO_COLOR": "1"})


def does(command: str, folder: Path, *words: object) -> str:
    """What a command says of a campaign, which has to succeed."""
    done = glassmap(command, folder, *words)
    assert done.exit_code in (ExitCode.DONE, ExitCode.WAITS), done.output
    return done.output


def told(*words: object) -> Any:
    """The records that a command prints for programs, and nothing else, which has to succeed."""
    done = glassmap(*words, "--json")
    assert done.exit_code in (ExitCode.DONE, ExitCode.WAITS), done.output
    return json.loads(done.stdout)

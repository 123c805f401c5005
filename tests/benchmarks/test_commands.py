"""Commands that compute nothing load nothing that computes."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import commands

# In a process of its own: each command's exit code, and what it was the first to load of the heavy libraries.
PROGRAM = """
import json, sys
from typer.testing import CliRunner
from glassmap.flows.cli.app import app

heavy, found = json.loads(sys.argv[1]), []
for words in json.loads(sys.argv[2]):
    result = CliRunner().invoke(app, words)
    found.append([result.exit_code, result.output, [name for name in heavy if name in sys.modules]])
print(json.dumps(found))
"""
HEAVY = [
    "torch",
    "xarray",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "lmfit",
    "prefect",
    "streamlit",
    "plotly",
    "distributed",
]


def test_commands_that_compute_nothing_load_no_heavy_library(tmp_path: Path):
    folder = commands.make_campaign(tmp_path / "campaign")
    all_of_them = [*commands.LIGHT, *commands.REFUSED]
    words = [commands.words_of(command, folder) for command in all_of_them]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(HEAVY), json.dumps(words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for command, (code, output, loaded) in zip(all_of_them, json.loads(done.stdout), strict=True):
        assert not loaded, f"glassmap {command} loads {', '.join(loaded)}"
        assert code == commands.code_of(command), f"glassmap {command}: {output}"
        assert command not in commands.REFUSED or "Xx" in output


def test_what_a_command_takes_is_its_own_not_that_of_who_asks():
    ballast = bytearray(300 * 2**20)
    ran = commands.time_command(["status", "/nowhere"])
    assert ran.code == 3 and "No campaign has been started in /nowhere" in ran.output
    assert ran.seconds > 0 and 20 < ran.peak_mib < len(ballast) / 2**20

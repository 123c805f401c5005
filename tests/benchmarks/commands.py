"""What a person waits for at the command line, and in how much memory: the commands that compute nothing.

Each is a process of its own, as a shell starts it; the clock runs from its start to its end, and the memory is the
process's greatest. A small campaign of a laboratory is made for them, waiting for approval.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.flows.cli.exit_codes import ExitCode
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance

SAMPLE = "r001-01"  # of the campaign below
RUNS = 5
# Words after `glassmap`, in an order in which none is refused.
LIGHT: tuple[str, ...] = (
    "--help",
    "status {folder}",
    "orders {folder}",
    "ledger {folder}",
    "log {folder}",
    "approve {folder}",
    "pause {folder} --reason vacuum",
    "resume {folder}",
    "extend {folder} --rounds 1",
    "abandon {folder} {sample} --reason broken",
    "retry {folder} {sample}",
    "init {new} --lab Co-V-Zr --range 1.5 4.5",
)
REFUSED: tuple[str, ...] = ("generate {folder} Xx50V50", "trace {folder} Xx50V50", "simulate Xx50V50")  # a typo


# The kernel counts the memory of who starts a process as the process's, so one that holds next to none does it.
LAUNCHER = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
code = subprocess.run([sys.executable, "-m", "glassmap.flows.cli", *sys.argv[1:]]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss, code]), flush=True)
"""


class Ran(NamedTuple):
    """How a command went."""

    seconds: float
    cpu_seconds: float  # which other work on the machine hardly changes
    peak_mib: float
    code: int
    output: str


def make_campaign(folder: Path) -> Path:
    """Make a laboratory's campaign of one round that waits to be approved; return its folder."""
    settings = {
        "name": "commands",
        "space": {"elements": ["Co", "V", "Zr"], "step_at_pct": 5},
        "spectrum": {"low": 1.5, "high": 4.5, "points": 200},
        "backend": {"kind": "lab", "columns": "q"},
        "planning": {"batch": 8, "approval": "required"},
    }
    config = CampaignConfig.of(settings, source="the benchmark")
    folder.mkdir(parents=True)
    config.to_toml(folder / FILE_NAME)
    with open_campaign(folder) as campaign:
        advance(campaign)
    return folder


def words_of(command: str, folder: Path, number: int = 0) -> list[str]:
    """Return the words of a command of `LIGHT` or `REFUSED`, for a campaign's folder."""
    return command.format(folder=folder, sample=SAMPLE, new=folder.with_name(f"new-{number}")).split()


def code_of(command: str) -> int:
    """Return the exit code of a command of `LIGHT` or `REFUSED`."""
    return ExitCode.REFUSED if command in REFUSED else ExitCode.DONE


def time_command(words: Sequence[str]) -> Ran:
    """Run `glassmap` with some words, and wait for its end."""
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *words], capture_output=True, text=True)
    *output, last = done.stdout.splitlines()
    seconds, cpu, peak, code = json.loads(last)
    peak_mib = peak / (2**20 if sys.platform == "darwin" else 2**10)
    return Ran(seconds, cpu, peak_mib, code, "\n".join(output) + done.stderr)


def run(*, runs: int = RUNS, on_record: Callable[[dict[str, Any]], None] = lambda record: None) -> list[dict[str, Any]]:
    """One record a command: median, lowest and highest seconds over its runs, median CPU seconds, most memory."""
    records = []
    with tempfile.TemporaryDirectory() as home:
        folders = [make_campaign(Path(home) / f"campaign-{number}") for number in range(runs + 1)]
        for command in (*LIGHT, *REFUSED):
            ran = [time_command(words_of(command, folder, number)) for number, folder in enumerate(folders)]
            if wrong := [one.output for one in ran if one.code != code_of(command)]:
                raise RuntimeError(f"glassmap {command}: {wrong[0]}")
            seconds = [one.seconds for one in ran[1:]]  # the first finds files that aren't in memory yet
            record: dict[str, Any] = {
                "command": " ".join(word for word in command.split() if "{" not in word),
                "seconds": median(seconds),
                "lowest": min(seconds),
                "highest": max(seconds),
                "cpu_seconds": median(one.cpu_seconds for one in ran[1:]),
                "peak_mib": max(one.peak_mib for one in ran),
            }
            records.append(record)
            on_record(record)
    return records

"""`glassmap status --watch`."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path


def test_a_status_that_is_watched_is_shown_again_and_again_until_interrupted(lab: Path):
    command = [sys.executable, "-m", "glassmap.flows.cli", "status", str(lab), "--watch"]
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where these tests run unheeding
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeds)
    assert watching.stdout is not None
    first = watching.stdout.readline()
    assert first.startswith("Waiting for 8 of 8 measurements of round 1")
    while watching.stdout.readline() != first:
        assert watching.poll() is None
    watching.send_signal(signal.SIGINT)
    watching.communicate()
    assert watching.returncode == 0

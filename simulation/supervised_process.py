"""Programs that end with the process that started them, however that ends, and all that they started in turn.

A program runs under a supervisor, which the kernel tells when this process ends, and which then, or once the program
itself has ended, ends the program's whole group: also what a launcher such as mpiexec or srun has started. It is a
program of its own because threads and `preexec_fn` don't go together.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_SUPERVISOR = """
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
def end(*_):
    raise KeyboardInterrupt
def die_with_parent(number):
    if sys.platform == "linux":
        libc.prctl(1, number)  # PR_SET_PDEATHSIG
def end_all(number):
    try:
        os.killpg(run.pid, number)
    except ProcessLookupError:
        pass
run = subprocess.Popen(
    sys.argv[2:], close_fds=False, process_group=0, preexec_fn=lambda: die_with_parent(signal.SIGTERM)
)
signal.signal(signal.SIGTERM, end)
try:
    die_with_parent(signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        end()
    while True:
        try:
            code = run.wait(None if sys.platform == "linux" else 1)
            break
        except subprocess.TimeoutExpired:
            if os.getppid() != int(sys.argv[1]):
                end()
except KeyboardInterrupt:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_all(signal.SIGTERM)
    try:
        code = run.wait(3)
    except subprocess.TimeoutExpired:
        code = -signal.SIGKILL
end_all(signal.SIGKILL)  # also what a program left behind that was killed
sys.exit(code if code >= 0 else 128 - code)
"""


def start_supervised(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    output: BinaryIO,
    pass_fds: Sequence[int] = (),
    umask: int = -1,
) -> subprocess.Popen[bytes]:
    """Start a program under its supervisor, in a session of its own.

    Args:
        command: The program and its arguments.
        folder: That it works in.
        environment: All of it.
        output: Where its output and errors go.
        pass_fds: Open files that it holds as long as it lives.
        umask: Of the files that it makes; by default this process's.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SUPERVISOR, str(os.getpid()), *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=pass_fds,
        umask=umask,
    )


def stop_supervised(process: subprocess.Popen[bytes]) -> None:
    """End a supervised program and all that it started, by force where it doesn't end by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

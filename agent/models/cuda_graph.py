"""A computation that a GPU repeats by itself: recorded once as a CUDA graph, then replayed as a whole.

A training step is hundreds of launches of microseconds each, which the processor asks for more slowly than the GPU
does them.
"""

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch

WARM_UP = 3  # calls before it is recorded, in which libraries and optimisers lay out what they need
# What couldn't be recorded in this process. PyTorch asks a recording that failed about every allocation after it, so it
# must stay; its memory stays as well, so that one is enough.
_FAILED: list[tuple[torch.cuda.CUDAGraph, str]] = []


class NotRecorded(RuntimeError):
    """Why a computation can't be recorded. What it writes to may be in any state: begin again from before it."""


def refused() -> str:
    """Return why this process records nothing any more; empty while nothing has failed."""
    return _FAILED[0][1] if _FAILED else ""


@contextmanager
def recordable(device: torch.device) -> Generator[None]:
    """Work within the block on a stream of its own: what a GPU does by default can't be recorded."""
    stream, before = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(before)
    with torch.cuda.stream(stream), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*capturable=True")  # the first steps aren't recorded
        yield
    before.wait_stream(stream)


class Repeated:
    """A computation without arguments or outcome, which reads and writes tensors that stay where they are.

    The first calls do it as it is, the next records it, and from then on it is replayed; every call counts alike.

    Args:
        work: Must ask for the same launches each time, and never wait for the device.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.calls = work, 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Do it once more.

        Raises:
            NotRecorded: If the GPU refuses to record it.
        """
        self.calls += 1
        if self.calls <= WARM_UP:
            self.work()
            return
        if self.graph is None:
            self._record()
        if self.graph is not None:
            self.graph.replay()

    def _record(self) -> None:
        """Record the work without doing it; what other threads ask of the GPU meanwhile is their own affair."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                self.work()
        except RuntimeError as error:
            _FAILED.append((graph, _first_line(error)))
        else:
            self.graph = graph
            return
        raise NotRecorded(refused())  # out here it doesn't hold on to what the work had allocated


def _first_line(error: BaseException) -> str:
    """Return what went wrong first: the end of a recording that has failed fails as well."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]

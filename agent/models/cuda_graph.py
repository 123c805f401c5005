"""A computation that a GPU repeats by itself: recorded once as a CUDA graph, then replayed as a whole.

A training step is hundreds of launches of microseconds each, which the processor asks for more slowly than the GPU
does them.
"""

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch

WARM_UP = 3  # calls before it is recorded, in which libraries and optimisers lay out what they need


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

    The first calls do it as it is, the next records it, and from then on it is replayed. Where it can't be recorded it
    is done as it is for good, and `refused` says why.

    Args:
        work: Must ask for the same launches each time, and never wait for the device.
        on_gpu: Whether there is a graph to record.
    """

    def __init__(self, work: Callable[[], None], *, on_gpu: bool) -> None:
        self.work, self.calls = work, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.refused: str | None = None if on_gpu else "not on a GPU"

    def __call__(self) -> None:
        """Do it once more."""
        self.calls += 1
        if self.graph is None and self.refused is None and self.calls > WARM_UP:
            self._record()
        if self.graph is not None:
            self.graph.replay()
        else:
            self.work()

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self.work()
        except RuntimeError as error:  # nothing was done yet
            self.refused = str(error).partition("\n")[0]
        else:
            self.graph = graph

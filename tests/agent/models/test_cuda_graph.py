"""A computation that a GPU repeats by itself, as far as that shows without a GPU."""

from contextlib import contextmanager

import pytest
import torch

from glassmap.agent.models.cuda_graph import WARM_UP, Repeated


class Recorded:
    """Stands for a CUDA graph: what is recorded isn't done, what is replayed is counted."""

    replays = 0

    def replay(self) -> None:
        Recorded.replays += 1


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def record(graph, stream):
        yield

    Recorded.replays = 0
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", record)


@pytest.mark.usefixtures("fake_gpu")
def test_after_some_calls_a_computation_is_recorded_once_and_replayed():
    calls = []
    repeated = Repeated(lambda: calls.append(1), on_gpu=True)
    for _ in range(WARM_UP + 5):
        repeated()
    assert (len(calls), Recorded.replays, repeated.refused) == (WARM_UP + 1, 5, None)


@pytest.mark.usefixtures("fake_gpu")
def test_what_can_not_be_recorded_is_done_as_it_is_and_says_why():
    calls = []

    def work() -> None:
        calls.append(1)
        if len(calls) == WARM_UP + 1:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    repeated = Repeated(work, on_gpu=True)
    for _ in range(WARM_UP + 5):
        repeated()
    assert repeated.refused == "operation not permitted when stream is capturing"
    assert len(calls) == WARM_UP + 5 + 1, "once in vain"

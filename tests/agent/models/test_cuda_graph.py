"""Training that a GPU repeats by itself, as far as that shows without a GPU."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glassmap.agent.models import cuda_graph, training
from glassmap.agent.models.config import PRESETS
from glassmap.agent.models.cuda_graph import NotRecorded, Repeated
from glassmap.agent.models.networks import Architecture, ConvGenerator, ConvWidths, CriticWidths
from glassmap.agent.models.training import PENALTY_EVERY, Trainer
from tests.benchmarks.work import as_on_a_gpu
from tests.support.models import CPU, Told, peaks, training_data

NARROW = Architecture(
    ConvGenerator,
    ConvWidths(noise=4, channels=(4, 8), kernels=(5, 9), strides=(3, 1)),
    CriticWidths(channels=(4,), kernels=(7,), strides=(2,), hidden=8),
)
WARM_UP = 1
STEPS = PENALTY_EVERY * (WARM_UP + 2)  # the steps with a penalty are replayed as well


class Recording(TorchDispatchMode):
    """Stands for a CUDA graph: what is recorded has no effect, and is asked for again, of the same tensors."""

    made: ClassVar[list["Recording"]] = []

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, Any, Any, Any]] = []
        self.before: dict[int, tuple[Any, Any]] = {}
        self.replays = 0
        Recording.made.append(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name == "aten::_local_scalar_dense":
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            for tensor in tree_leaves(value) if argument.alias_info and argument.alias_info.is_write else ():
                storage = tensor.untyped_storage()
                self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        out = func(*args, **(kwargs or {}))
        self.asked.append((func, args, kwargs or {}, out))
        return out

    def undo(self) -> None:
        for storage, before in self.before.values():
            storage.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out in self.asked:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Recording as on a GPU, of the layers and the optimiser of a GPU, on the CPU."""

    @contextmanager
    def record(graph: Recording, stream: None, capture_error_mode: str) -> Generator[None]:
        assert capture_error_mode == "thread_local", "what other threads do is no error"
        with graph:
            yield
        graph.undo()

    monkeypatch.setattr(Recording, "made", [])
    monkeypatch.setattr(cuda_graph, "_FAILED", [])
    monkeypatch.setattr(cuda_graph, "WARM_UP", WARM_UP)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(training, "recordable", nullcontext)
    monkeypatch.setattr(
        Trainer,
        "_optimiser",
        lambda self, network: torch.optim.Adam(network.parameters(), betas=(0.0, 0.99), fused=True),
    )
    with as_on_a_gpu():
        yield


def trainer() -> Trainer:
    x, _, y = peaks(12, points=18)
    config = PRESETS["paper"].model_copy(update={"steps": STEPS, "members": 2, "batch_size": 4})
    return Trainer(training_data(x, y, [1, 2], config=config, architecture=NARROW), device=CPU)


def learned(run: Callable[[Trainer], None]) -> dict[str, torch.Tensor]:
    one = trainer()
    run(one)
    assert one.done == STEPS and one.critic is not None
    return {**one.averaged.state_dict(), **{f"critic {name}": value for name, value in one.critic.state_dict().items()}}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.usefixtures("fake_gpu")
def test_steps_that_are_recorded_and_replayed_teach_what_the_same_steps_teach_as_they_are():
    as_they_are = learned(lambda one: one.run_ahead())
    assert_same(learned(lambda one: one.run_recorded()), as_they_are)
    plain, penalised = Recording.made
    replays = (STEPS - STEPS // PENALTY_EVERY - WARM_UP, STEPS // PENALTY_EVERY - WARM_UP)
    assert (plain.replays, penalised.replays) == replays, "each of a kind is a step, the recorded one as well"


@pytest.mark.usefixtures("fake_gpu")
def test_what_a_gpu_refuses_is_learned_as_it_is_from_the_first_step_and_said(monkeypatch: pytest.MonkeyPatch):
    as_they_are = learned(lambda one: one.run_ahead())

    @contextmanager
    def record(graph: Recording, **_: Any) -> Generator[None]:
        yield  # it does have an effect
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "graph", record)
    for _ in range(2):
        told = Told()
        assert_same(learned(lambda one, told=told: one.run_recorded(told)), as_they_are)
        said = [text.partition("; ")[2] for *_, text in told]
        assert said == ["no CUDA graph: operation not permitted when stream is capturing"]
    assert len(Recording.made) == 1, "it isn't tried again"


@pytest.mark.usefixtures("fake_gpu")
def test_what_waits_for_the_device_is_not_recorded_and_the_first_error_is_told(monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def record(graph: Recording, **_: Any) -> Generator[None]:
        try:
            with graph:
                yield
        finally:
            raise RuntimeError("capture invalidated")

    monkeypatch.setattr(torch.cuda, "graph", record)
    calls: list[float] = []
    repeated = Repeated(lambda: calls.append(torch.ones(1).item()))
    for _ in range(WARM_UP):
        repeated()
    with pytest.raises(NotRecorded, match=r"^operation not permitted when stream is capturing$") as refused:
        repeated()
    assert len(calls) == WARM_UP
    assert refused.value.__context__ is None, "it holds on to nothing"

"""What a computation asks of a device, counted where it runs: launches, bytes, arithmetic; and the time that follows.

Counting needs no GPU, and no numbers either: on PyTorch's device `meta` there are shapes alone. What a GPU would do
otherwise than a CPU (`layers.as_products`) is asked for by `as_on_a_gpu`.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from glassmap.agent.models import layers, networks


class Device(NamedTuple):
    """What a device can do, as measured (docs/results.md, "On a GPU")."""

    launch: float  # seconds from one launch to the next, where the host asks for each
    replayed: float  # the same in a CUDA graph
    bytes: float  # a second
    products: float  # floating-point operations a second of single-precision products, by TF32
    share: float  # of those that products come to


H200 = Device(launch=5e-6, replayed=2e-6, bytes=4.2e12, products=367e12, share=0.5)
FACTORS = {torch.float16: 2.0, torch.bfloat16: 2.0, torch.float64: 0.09}  # of the rate of TF32
NO_LAUNCH = ("empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view", "detach", "alias", "lift_fresh")
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2", "bincount")
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_addmm_activation": 1}  # which argument is multiplied
PICKS = ("index", "index_select", "gather", "embedding")  # they read what they return, not all that they choose from


class Launch(NamedTuple):
    """One kernel."""

    name: str
    bytes: int  # read and written
    flop: int  # of products
    kind: torch.dtype  # in which they are computed

    def seconds(self, device: Device, *, replayed: bool) -> float:
        """How long a device takes for it: what takes longest of launch, memory and arithmetic."""
        rate = device.products * device.share * FACTORS.get(self.kind, 1.0)
        return max(device.replayed if replayed else device.launch, self.bytes / device.bytes, self.flop / rate)


@dataclass
class Work(TorchDispatchMode):
    """Counts, while it is entered, what PyTorch is asked for."""

    launches: list[Launch] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    """What makes the host wait for the device."""
    repeats: int = 1
    """How often the work that is told of was done."""

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do what is asked for, and count it."""
        if func._schema.name == "aten::_local_scalar_dense" and args[0].is_meta:
            self.waits.append("item")
            return args[0].dtype == torch.bool or 1  # the answer to whether all is as it should be
        out = func(*args, **(kwargs or {}))
        name, returns = func._schema.name.removeprefix("aten::"), func._schema.returns
        if name in WAITS:
            self.waits.append(name)
        if name in NO_LAUNCH or any(one.alias_info and not one.alias_info.is_write for one in returns):
            return out
        given, made = _tensors([args, kwargs]), [] if any(one.alias_info for one in returns) else _tensors(out)
        written = [
            tensor
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info and argument.alias_info.is_write
            for tensor in _tensors(value)
        ]
        written += _tensors([(kwargs or {}).get("out")])
        if (
            name in ("copy_", "fill_", "zero_", "random_", "normal_", "uniform_")
            or (kwargs or {}).get("out") is not None
        ):
            given = [tensor for tensor in given if not any(tensor is one for one in written)]
        if name in PICKS:
            given = made
        if not (given or made or written):
            return out
        flop, kind = _flop(func, name, args, kwargs or {}, out)
        self.launches.append(Launch(name, sum(map(_bytes, (*given, *made, *written))), flop, kind))
        return out

    @property
    def asked(self) -> float:
        """How many launches."""
        return len(self.launches) / self.repeats

    @property
    def bytes(self) -> float:
        """Read and written."""
        return sum(one.bytes for one in self.launches) / self.repeats

    @property
    def flop(self) -> float:
        """Of products."""
        return sum(one.flop for one in self.launches) / self.repeats

    def seconds(self, device: Device = H200, *, replayed: bool = False) -> float:
        """How long a device takes, one launch after the other."""
        return sum(one.seconds(device, replayed=replayed) for one in self.launches) / self.repeats

    def dearest(self, n: int = 8) -> list[tuple[str, int, float]]:
        """Return by name what takes longest: launches, milliseconds."""
        times, counts = Counter[str](), Counter[str]()
        for one in self.launches:
            times[one.name] += 1000 * one.seconds(H200, replayed=True)  # pyright: ignore[reportArgumentType]
            counts[one.name] += 1
        return [(name, counts[name], round(time, 3)) for name, time in times.most_common(n)]


def count(work: Callable[[], Any]) -> Work:
    """Return what something asks for."""
    with Work() as counted:
        work()
    return counted


@contextmanager
def as_on_a_gpu() -> Generator[None]:
    """Compute within the block as on a GPU, wherever it is."""
    with patch.object(layers, "as_products", lambda h: True), patch.object(networks, "as_products", lambda h: True):
        yield


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _bytes(tensor: Tensor) -> int:
    """Of the numbers that there are, which an expanded tensor has once."""
    own = (size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)
    return tensor.itemsize * math.prod(own) if tensor.numel() else 0


def _flop(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[int, torch.dtype]:
    if name in PRODUCTS:
        factor: Tensor = args[PRODUCTS[name]]
        return 2 * out.numel() * factor.shape[-1], factor.dtype
    if func._overloadpacket in flop_registry:
        return flop_registry[func._overloadpacket](*args, **kwargs, out_val=out), _tensors(args)[0].dtype
    return 0, torch.float32

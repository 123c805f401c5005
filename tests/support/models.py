"""Spectra that a model learns in seconds, and networks that are small."""

from typing import Any

import numpy as np
import torch

from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.networks import COMPACT, Architecture, DenseGenerator, DenseWidths, Generator
from glassmap.agent.models.training import TrainingData

TINY = TrainingConfig(architecture="compact", members=2, steps=30, batch_size=8, energy=0.0)
CPU = torch.device("cpu")
NOISY = Architecture(DenseGenerator, DenseWidths(noise=3, hidden=(33, 20)), COMPACT.critic)
"""Dense networks that take noise, of widths that no vector of a processor divides."""


class Told(list[tuple[str, int, int, str]]):
    """A callback that keeps what it is told: stage, done, total, text."""

    def __call__(self, stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        self.append((stage, done, total, text))


def peaks(n: int, *, points: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ternary compositions, an axis in 1/Å and spectra of one peak that moves and widens with composition."""
    compositions = np.random.default_rng(seed).dirichlet(np.ones(3), n)
    q = np.linspace(1.0, 5.0, points)
    q1 = 2.0 + compositions @ [0.0, 0.5, 1.0]
    width = 0.2 + 0.3 * compositions[:, :1]
    return compositions, q, 100 * np.exp(-(((q - q1[:, None]) / width) ** 2)) * 0.9 + 5


def training_data(
    x: np.ndarray,
    y: np.ndarray,
    seeds: list[int],
    *,
    config: TrainingConfig = TINY,
    architecture: Architecture[Any] = COMPACT,
) -> TrainingData:
    """All members learn from all spectra."""
    seen = np.ones((len(seeds), len(x)), dtype=bool)
    return TrainingData(x.astype(np.float32), y.astype(np.float32), config, architecture, seeds, seen)


def generate(generator: Generator, compositions: np.ndarray, *, seed: int = 0) -> torch.Tensor:
    """Draw one spectrum an alloy and member, `(n, m, q)`; every member gets the same noise."""
    x = torch.tensor(compositions, dtype=torch.float32)[:, None].expand(-1, generator.members, -1)
    noise = torch.randn(len(x), 1, generator.noise, generator=torch.Generator().manual_seed(seed))
    return generator(noise.expand(-1, generator.members, -1), x)

"""A data set for tests and benchmarks that takes no time to learn."""

from pathlib import Path

import numpy as np

from glassmap.agent.data.dataset import SpectraSet, write_dataset


def write_small_dataset(path: Path) -> Path:
    """150 alloys of a ternary on two wafers: one broad peak, whose q1 and Δq vary smoothly with composition."""
    rng = np.random.default_rng(1)
    compositions = rng.dirichlet((1.5, 1.5, 1.5), size=150)
    q = np.linspace(1, 5, 96)
    q1 = 2.4 + 0.6 * compositions[:, :1]
    delta_q = 0.35 + 0.4 * compositions[:, 1:2]
    intensities = 20 + 80 / (1 + 4 * ((q - q1) / delta_q) ** 2) + rng.normal(scale=0.2, size=(150, 96))
    spectra = SpectraSet(
        ids=tuple(f"s{k:03d}" for k in range(150)),
        elements=("Co", "V", "Zr"),
        compositions=compositions,
        axis_name="q",
        axis=q,
        intensities=intensities,
        coordinates={"wafer": np.where(compositions[:, 2] > 1 / 3, "west", "east")},
    )
    write_dataset(spectra, path)
    return path

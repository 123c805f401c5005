"""What several test files share. The environment is set before Prefect, or anything that imports it, is loaded."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFECT_HOME = tempfile.TemporaryDirectory(prefix="glassmap-prefect-")
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": _PREFECT_HOME.name,
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "OMP_NUM_THREADS": "1",
}
os.environ.pop("PREFECT_API_URL", None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from glassmap.agent.data.dataset import SpectraSet, write_dataset  # noqa: E402

settings.register_profile("glassmap", deadline=None)
settings.load_profile("glassmap")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The measured data sets; they are no part of the repository."""
    next_to_repository = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("GLASSMAP_SHARED_DATA", next_to_repository))
    if not path.is_dir():
        pytest.skip(f"needs the measured data, which is not in {path}; set GLASSMAP_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 alloys of a ternary on two wafers: one broad peak, whose q1 and Δq vary smoothly with composition."""
    rng = np.random.default_rng(1)
    compositions = rng.dirichlet((1.5, 1.5, 1.5), size=150)
    q = np.linspace(1, 5, 96)
    q1 = 2.4 + 0.6 * compositions[:, :1]
    delta_q = 0.35 + 0.4 * compositions[:, 1:2]
    intensities = 20 + 80 / (1 + 4 * ((q - q1) / delta_q) ** 2) + rng.normal(scale=0.2, size=(150, 96))
    path = tmp_path_factory.mktemp("data") / "small.nc"
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


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the session's own; some seconds once."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield

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

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.support.small_dataset import write_small_dataset  # noqa: E402

settings.register_profile("glassmap", deadline=None)
settings.load_profile("glassmap")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest and mostly waits, so that others are at work meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_supervisor.py")


@pytest.fixture
def pictures_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for print are composed, but written empty, where nobody looks at them: each takes half a second."""

    def write_empty(figure: object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr("glassmap.dashboard.plots.for_print._save", write_empty)


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
    """150 alloys of a ternary, whose one broad peak varies smoothly with composition."""
    return write_small_dataset(tmp_path_factory.mktemp("data") / "small.nc")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the session's own; some seconds once."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield

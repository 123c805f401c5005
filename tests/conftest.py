"""What several test files share. The environment is set before Prefect, or anything that imports it, is loaded."""

import os
import tempfile
from collections.abc import Generator, Iterator
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

import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.support.small_dataset import write_small_dataset  # noqa: E402

settings.register_profile("glassmap", deadline=None)
settings.load_profile("glassmap")


TESTS = Path(__file__).parent
LONGEST = ("test_supervisor.py", "test_upgrade.py", "test_app.py", "test_dask_cluster.py", "test_simulated_campaign.py")
TRUSTED = (
    "benchmarks",
    "dashboard",
    "docs",
    "flows/cli",
    "flows/compute",
    "flows/services",
    "flows/upkeep",
    "test_upgrade.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: the first mostly waits, and none is left to end alone."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Check shapes and types at every call, but for tests of what is built upon that: it is a fifth of their time.

    `agent` and `simulation`, whose shapes they are, are checked by their own tests, by whole campaigns of every kind in
    `flows/rounds` and `flows/backends`, and by all that is not named in `TRUSTED`.
    """
    is_trusted = any(item.path.is_relative_to(TESTS / name) for name in TRUSTED)
    jaxtyping.config.update("jaxtyping_disable", is_trusted)
    try:
        return (yield)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def pictures_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for print are composed, but written empty, where nobody looks at them: each takes half a second."""

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: Path(path).touch())


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

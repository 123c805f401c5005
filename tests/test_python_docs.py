"""The page about the Python API runs as it stands, and speaks of every public name."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import glassmap

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """The names that are there once every block has run, in an empty folder."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "docs/python.md", "exec"), names)
        yield names  # while its campaign can be read


def test_the_page_names_a_figure_only_if_there_is_one(ran: dict):
    assert {"q1", "delta_q"} <= ran["peak"].figures.keys() == ran["peaks"].figures.keys()


def test_every_block_of_the_page_runs(ran: dict):
    assert ran["glasses"].elements == ("Zr", "Cu", "Al") and ran["peak"].reason == ""
    assert not set(ran["batch"].rows.tolist()) & set(ran["next_batch"].rows.tolist())
    assert ran["prediction"].mean.shape == (10, len(ran["spectra"].axis))
    assert ran["campaign"].status.state == "exhausted"


@pytest.mark.parametrize("name", glassmap.__all__)
def test_every_public_name_is_used_on_the_page_and_says_what_it_is(name: str):
    assert f"`{name}`" in PAGE.split("\n## ")[0]
    assert f"glassmap.{name}" in PAGE or name == "SpectraSet"
    assert name == "__version__" or getattr(glassmap, name).__doc__


@pytest.mark.parametrize("table", ["curve", "measurements", "map"])
def test_columns_are_called_as_the_page_says(ran: dict, table: str):
    told = re.search(rf"^`campaign\.{table}`, a row.*?\n\n(.*?)\n\n", PAGE + "\n\n", re.DOTALL | re.MULTILINE)
    assert told is not None
    named = {name for line in told[1].splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named and named <= set(getattr(ran["campaign"], table).columns)

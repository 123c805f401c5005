"""The page about formats lists what is read."""

from pathlib import Path

import pytest

from glassmap.agent.data.scan_files import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()


@pytest.mark.parametrize("suffix", sorted({suffix for one in FORMATS for suffix in one.suffixes}))
def test_every_suffix_stands_in_the_table_of_scans(suffix: str):
    rows = [line for line in PAGE.split("## Scans")[1].split("### ")[0].splitlines() if line.startswith("| ")]
    assert any(f"`{suffix}`" in row.split("|")[2] for row in rows)

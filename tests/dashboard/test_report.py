"""The report: one file of any campaign that has begun."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glassmap.agent.errors import StoreError
from glassmap.dashboard.report import write_report
from glassmap.flows.cli.app import app
from tests.support.pictures import PICTURES


@pytest.mark.usefixtures("pictures_unseen")
def test_the_report_is_one_file_that_needs_nothing_else(replayed: Path, tmp_path: Path):
    done = CliRunner().invoke(app, ["report", str(replayed), "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r.html").read_text()
    assert "Best candidates" in page and "Generated against measured" in page and page.count("Plotly.newPlot") >= 9
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="?http', page)
    assert re.search(r"Δq of \d+ held-out alloys: slope .* the 90 % interval .* holds \d+ of \d+", page)
    assert re.search(r"<strong>The 90 % band holds \d+ % of the points of \d+ held-out spectra; \d+", page)
    assert (
        "A sample is the mean and as far off" in page and "With `--preset paper` it would be 5 conditional GANs" in page
    )
    assert "For a paper" in page and "@article{xie2025" in page
    names = {path.name for path in (tmp_path / "r-figures").iterdir()}
    assert names == {"measured-alloys.csv"} | {
        f"{Path(name).stem}.{ending}" for name in [*PICTURES, "wafers.png"] for ending in ("png", "svg")
    }


@pytest.mark.usefixtures("pictures_unseen")
@pytest.mark.parametrize("name", ["waiting", "failed", "quaternary", "quinary"])
def test_a_report_can_be_written_of_any_campaign_that_has_begun(campaigns: Path, tmp_path: Path, name: str):
    assert write_report(campaigns / name, tmp_path / "r.html")[0].exists()


def test_there_is_no_report_of_what_can_t_be_read(campaigns: Path, tmp_path: Path):
    with pytest.raises(StoreError, match="nothing to report"):
        write_report(campaigns / "new", tmp_path / "r.html")

"""What a paper takes over: methods, measured alloys, what to cite; on the page and as a PDF."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pypdf import PdfReader

from glassmap import Campaign, __version__
from glassmap.dashboard.data import read_begun_campaign, read_last_archive, read_last_map, read_log, read_sources
from glassmap.dashboard.for_a_paper import alloys_of, bibtex_of, methods_of
from glassmap.dashboard.report import write_report
from glassmap.dashboard.report_pdf import write_pdf
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.campaigns import SIMULATED
from tests.support.lab_campaigns import write_campaign


def test_the_methods_name_data_programs_and_errors_with_their_uncertainty(replayed: Path):
    campaign = read_begun_campaign(replayed)
    sources = read_sources(replayed)
    said = methods_of(campaign, sources, read_last_map(campaign))
    with open_campaign(replayed) as opened:
        assert sources.fingerprint == opened.backend.fingerprint and len(sources.fingerprint) == 64
    assert f"in the data set small.nc (SHA-256 of what it holds {sources.fingerprint})" in said
    assert f"planned with glassmap {__version__} (seed 0) in batches of 8: chosen so that" in said
    assert f"the spectrum of each of the {len(Campaign(replayed).map())} alloys" in said
    last = campaign.curve[-1]
    assert f"Mean errors ± standard error on {last.judged_by} spectra that were never learned from" in said
    assert f"MSE {last.hold_out['mse'].value:.1f}" in said and "LAMMPS" not in said
    assert f"The last model was trained with PyTorch {version('torch')}" in said and "glassmap 0.1 " not in said
    elsewhere = sources._replace(trained_by={"glassmap": "0.1", "torch": "1.0"})
    assert "planned with glassmap 0.1 (seed" in methods_of(campaign, elsewhere, None)
    assert "version = {0.1}" in bibtex_of(elsewhere)


def test_the_list_of_measured_alloys_is_what_the_campaign_learned_from_with_their_widths(replayed: Path):
    campaign = read_begun_campaign(replayed)
    table = alloys_of(campaign, read_last_archive(campaign))
    measured = Campaign(replayed).measurements()
    used = measured[measured["state"] == "used"]
    assert table["id"].tolist() == used["id"].tolist() and len(table) == 16
    np.testing.assert_allclose(table["Co (at.%)"], used["Co"], atol=0.006)
    widths = table["Δq (Å⁻¹)"].to_numpy()
    assert np.all((widths > 0.1) & (widths < 2)) and set(table["held out"]) == {"no"}


def test_who_simulates_cites_lammps_and_the_potential(replayed: Path):
    sources = read_sources(replayed)
    assert "xie2025" in bibtex_of(sources) and "thompson2022" not in bibtex_of(sources)
    simulated = sources._replace(dataset="", potential=SIMULATED["backend"]["potential"])
    assert "thompson2022" in bibtex_of(simulated)
    campaign = read_begun_campaign(replayed)
    assert "melt and quench, LAMMPS, potential zhou" in methods_of(campaign, simulated, None)


@pytest.mark.parametrize("kind", ["replayed", "failed"])
def test_the_pdf_tells_the_same_story_with_its_figures(
    request: pytest.FixtureRequest, campaigns: Path, tmp_path: Path, kind: str
):
    folder = request.getfixturevalue("replayed") if kind == "replayed" else campaigns / kind
    campaign, pictures = read_begun_campaign(folder), [tmp_path / f"{colour}.png" for colour in ("teal", "gold")]
    for path in pictures:
        Image.new("RGB", (1200, 500), path.stem).save(path)
    for name in ("once.pdf", "again.pdf"):
        write_pdf(campaign, tmp_path / name, log=read_log(folder), pictures=pictures)
    assert (tmp_path / "once.pdf").read_bytes() == (tmp_path / "again.pdf").read_bytes()
    pages = PdfReader(tmp_path / "once.pdf").pages
    text = " ".join(" ".join(page.extract_text().split()) for page in pages)
    assert campaign.name in text and "For a paper" in text and "xie2025" in text
    assert " ".join(campaign.status.reason.split())[:60] in text
    assert sum(len(page.images) for page in pages) == 2
    known = alloys_of(campaign, read_last_archive(campaign))
    assert isinstance(known, pd.DataFrame) and all(id_ in text for id_ in known["id"])


def test_a_campaign_that_has_only_ordered_its_first_round_has_a_report_and_a_long_note_goes_on_over_pages(
    tmp_path: Path,
):
    folder = write_campaign(tmp_path / "lab", columns="q")
    with open_campaign(folder) as opened:
        advance(opened)
        with opened.store.transaction():
            opened.store.record_note("a long remark " * 1000)
    page, pdf, alloys = write_report(folder, tmp_path / "r.html", pdf=tmp_path / "r.pdf")
    assert page.exists() and pd.read_csv(alloys).empty
    text = " ".join(" ".join(one.extract_text().split()) for one in PdfReader(pdf).pages)
    assert text.count("remark") == 1000 and "Waiting for 8 of 8" in text

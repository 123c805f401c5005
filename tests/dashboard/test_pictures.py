"""The pictures for print: drawn from what a round left, with neither a model nor the data set."""

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from glassmap.agent.config.space import SpectrumConfig
from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.errors import ModelError, StoreError
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard import pictures
from glassmap.dashboard.data import (
    colour_limits,
    measured_values,
    read_begun_campaign,
    read_last_archive,
    read_last_map,
)
from glassmap.dashboard.held_out import held_out_pairs, say_coverage
from glassmap.dashboard.pictures import draw_held_out_figures, draw_how_sure, draw_maps
from glassmap.dashboard.plots.for_print import band_about, draw_flagged, draw_generated, draw_learning_curve, save
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.flows.campaign import Campaign
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.campaigns import write_campaign
from tests.support.made_up import make_campaign
from tests.support.pictures import HOW_SURE, PICTURES


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A replay whose data set has gone since."""
    folder = tmp_path_factory.mktemp("replayed")
    dataset = folder / "data.nc"
    dataset.write_bytes(small_dataset.read_bytes())
    write_campaign(folder, dataset, stop={"max_rounds": 1})
    with open_campaign(folder) as campaign:
        advance(campaign)
    dataset.unlink()
    return folder


def test_a_replay_is_drawn_without_its_data_set_beside_every_alloy_that_was_measured(
    replayed: Path, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured_maps, names = {}, {quantity.title: name for name, quantity in QUANTITIES.items()}
    monkeypatch.setattr(
        pictures,
        "draw_peak_maps",
        lambda _, measured, *__, quantity, **___: measured_maps.update({names[quantity.title]: measured}) or Figure(),
    )
    draw_maps(read_begun_campaign(replayed), tmp_path)
    everything = read_dataset(small_dataset).prepared(**SpectrumConfig().read())  # an area hangs on the scale
    assert list(measured_maps) == [figure.name for figure in FIGURES], "of so few spectra there is no P(glass)"
    found = measure_peaks(everything.axis, torch.from_numpy(everything.intensities))
    expected = {name: values.numpy() for name, values in found.figures.items()}
    for quantity, (compositions, values) in measured_maps.items():
        assert len(compositions) == len(everything)
        np.testing.assert_allclose(values, expected[quantity])


def test_drawing_loads_no_torch(replayed: Path, tmp_path: Path):
    code = "import sys; from pathlib import Path; from glassmap.dashboard.data import read_begun_campaign\n"
    code += "from glassmap.dashboard.pictures import draw_pictures\n"
    code += "print([p.name for p in draw_pictures(read_begun_campaign(Path(sys.argv[1])), Path(sys.argv[2]))])\n"
    code += "print(sorted({'torch', 'plotly', 'streamlit', 'xarray'} & set(sys.modules)))"
    run = [sys.executable, "-c", code, str(replayed), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str([*(name for name in PICTURES if name not in HOW_SURE), "wafers.png"]), "[]"]


@pytest.mark.usefixtures("pictures_unseen")
def test_an_archive_of_an_earlier_version_is_drawn_without_what_it_lacks(tmp_path: Path):
    make_campaign(tmp_path / "made-up", step_at_pct=10, rounds=2, batch=5)
    campaign = read_begun_campaign(tmp_path / "made-up")
    archive = read_last_archive(campaign)
    assert archive is not None
    assert len(draw_held_out_figures(campaign, tmp_path)) == len(draw_how_sure(campaign, tmp_path)) == 1
    assert len(held_out_pairs(archive)) == 2 and "band holds" in say_coverage(archive)
    nothing_held = archive._replace(measured=archive.measured._replace(hold_out=np.zeros(len(archive.mse), dtype=bool)))
    assert [pairs.kind for pairs in held_out_pairs(nothing_held)] == ["left-out", "left-out"]
    assert re.search(r"Δq of \d+ left-out alloys: slope", held_out_pairs(nothing_held)[0].say())
    assert campaign.archive is not None
    with h5py.File(campaign.archive[1], "a") as file:
        file.move("generated/epistemic_std", "generated/between")
        file.move("generated/aleatoric_std", "generated/within")
        del file["measured/generated"], file["measured/left_out"], file["measured/inside"]
    archive = read_last_archive(campaign)
    assert archive is not None and archive.view(0).epistemic_std[0] == 1
    np.testing.assert_array_equal(archive.known.compositions, archive.measured.compositions)
    assert len(draw_maps(campaign, tmp_path)) == 1 + len(FIGURES) and draw_held_out_figures(campaign, tmp_path) == []
    assert held_out_pairs(archive) == [] and say_coverage(archive) == "" and draw_how_sure(campaign, tmp_path) == []


def test_the_band_is_the_calibrated_one_where_there_is_one():
    std = np.full(3, 1.5)
    half_width, name = band_about(np.full(3, 4.0), std)
    assert name == "90 % of measured points are expected here" and half_width[0] == 4
    half_width, name = band_about(np.full(3, np.nan), std)
    assert "± 2 epistemic std" in name and half_width[0] == 3


def test_nothing_is_drawn_of_a_campaign_that_has_not_begun(tmp_path: Path):
    (tmp_path / "campaign.toml").write_text("")
    with pytest.raises(StoreError, match="Not started yet"):
        read_begun_campaign(tmp_path)


def test_a_name_is_drawn_as_it_is_and_not_read_as_a_formula(tmp_path: Path):
    name, q, spectrum = r"what $\frac{ costs", np.linspace(1, 5, 96), np.ones(96)
    pages = (
        draw_learning_curve([], title=name),
        draw_flagged(q, spectrum, spectrum[None], title=name),
        draw_generated("q", q, spectrum, spectrum, band="std", title=name),
    )
    for page in pages:
        save(page, tmp_path / "page.svg")
        assert name in (tmp_path / "page.svg").read_text()


def test_a_map_says_how_much_of_it_is_extrapolated_and_marks_what_is_flagged_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pictures, "FIGURES", (DELTA_Q,))  # one is enough
    make_campaign(tmp_path / "made-up", step_at_pct=5, rounds=1, batch=6)
    calm = draw_maps(read_begun_campaign(tmp_path / "made-up"), tmp_path / "calm", ("svg",))[0].read_text()
    with CampaignStore.amend(tmp_path / "made-up", person="somebody") as store, store.transaction():
        store.set_measurement_state("r001-02", "used", "A sharp line at 2.61 1/Å, 55 of 100 high: substrate?")
    campaign = read_begun_campaign(tmp_path / "made-up")
    drawn = draw_maps(campaign, tmp_path, ("svg",))[0].read_text()
    map_ = read_last_map(campaign)
    assert map_ is not None and map_.extrapolated is not None and 0.1 < map_.extrapolated < 0.9
    assert f"{100 * map_.extrapolated:.0f} % of the map is extrapolated" in drawn
    assert "flagged, and used" in drawn and "flagged, and used" not in calm


def test_a_map_s_colours_end_alike_in_print_and_on_the_page_whatever_was_measured(tmp_path: Path):
    make_campaign(tmp_path / "made-up", step_at_pct=10, rounds=1, batch=6)
    campaign = read_begun_campaign(tmp_path / "made-up")
    map_, archive = read_last_map(campaign), read_last_archive(campaign)
    assert map_ is not None and archive is not None
    wide = archive._replace(known=archive.known._replace(figures={DELTA_Q.name: np.full(200, 2.0)}))
    assert colour_limits(map_, archive, DELTA_Q.name)[1] < 1 < colour_limits(map_, wide, DELTA_Q.name)[1]
    assert colour_limits(map_, wide, "distance") == colour_limits(map_, None, "distance")
    values = measured_values(map_, archive, ["r001-02", "newer"], DELTA_Q.name)
    assert values is not None and np.isfinite(values).tolist() == [True, False]
    assert measured_values(map_, archive, ["r001-02"], "distance") is None


def test_a_map_of_four_elements_is_drawn_as_slices_and_of_five_not_at_all(campaigns: Path, tmp_path: Path):
    page = Campaign(campaigns / "quaternary").plot_map("delta_q")
    captions = [axes.get_title() for axes in page.axes]
    map_ = read_last_map(read_begun_campaign(campaigns / "quaternary"))
    assert map_ is not None
    for caption in filter(None, captions):
        told = re.fullmatch(r"([\d.]+) at.% Ti, (\d+) alloys", caption)
        assert told and np.isclose(map_.compositions[:, 3], float(told[1]) / 100).sum() == int(told[2])
    assert len([*filter(None, captions)]) > 1 and "learned from" in page.get_suptitle()
    with pytest.raises(ModelError, match="three or four elements, got 5"):
        Campaign(campaigns / "quinary").plot_map()
    assert draw_maps(read_begun_campaign(campaigns / "quinary"), tmp_path) == []

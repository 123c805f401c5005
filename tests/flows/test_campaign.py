"""`Campaign`, the public way to read a campaign from Python."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import glassmap
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import CompositionError, DatasetError, ModelError, StoreError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.plots.for_print import Page
from glassmap.flows.rounds.campaign import open_campaign
from tests.support.campaigns import run, write_campaign


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    folder = tmp_path_factory.mktemp("campaigns") / "finished"
    write_campaign(folder, small_dataset, stop={"max_rounds": 2})
    run(folder)
    return folder


def test_a_finished_campaign_is_read_as_tables(finished: Path):
    campaign = glassmap.Campaign(str(finished))
    with CampaignStore.read_only(finished) as store:
        assert campaign.status() == store.status()
        points, measured = store.curve(), store.measurements()
    assert campaign.elements == ("Co", "V", "Zr")
    curve = campaign.curve()
    assert curve["round"].tolist() == [1, 2] and curve["mse"].tolist() == [point.mse for point in points]
    table = campaign.measurements()
    assert table["id"].tolist() == [one.id for one in measured]
    assert np.allclose(table[["Co", "V", "Zr"]], 100 * np.array([one.composition for one in measured]))
    assert isinstance(table["taken"].dtype, pd.DatetimeTZDtype) and table["hold_out"].dtype == bool


def test_the_map_holds_every_alloy_of_the_space(finished: Path):
    campaign = glassmap.Campaign(finished)
    alloys = campaign.map()
    assert len(alloys) == 171 and (alloys[list(campaign.elements)].sum(axis=1) == 100).all()
    assert {"q1", "delta_q", "peak_share", "distance"} <= set(alloys.columns)


def test_figures_of_named_alloys_are_those_of_the_map(finished: Path):
    campaign = glassmap.Campaign(finished)
    alloys, named = campaign.map(), campaign.predict(["Co30V40Zr30", "Co5V5Zr90"])
    rows = pd.concat([alloys.query("Co == 30 and V == 40"), alloys.query("Co == 5 and V == 5")])
    shared = [name for name in named.columns if name in alloys.columns]
    assert {"p_glass", "delta_q", "delta_q_predictive_std", "expected_error"} <= set(shared)
    np.testing.assert_allclose(named[shared], rows[shared], rtol=1e-3, atol=1e-4)


def test_used_spectra_come_as_a_data_set_that_can_be_written(finished: Path, tmp_path: Path):
    campaign = glassmap.Campaign(finished)
    spectra, table = campaign.spectra(), campaign.measurements().set_index("id")
    assert set(spectra.ids) == set(table.query("state == 'used'").index)
    assert spectra.coordinates["hold_out"].tolist() == table["hold_out"].reindex(spectra.ids).tolist()
    write_dataset(spectra, tmp_path / "used.nc")
    assert read_dataset(tmp_path / "used.nc").ids == spectra.ids


def test_the_last_model_predicts_by_name_or_by_fraction(finished: Path):
    campaign = glassmap.Campaign(finished)
    named = campaign.predict(["Co30V40Zr30", "Zr100"])
    pd.testing.assert_frame_equal(named, campaign.predict(np.array([[0.3, 0.4, 0.3], [0.0, 0.0, 1.0]])))
    assert named[["Co", "V", "Zr"]].to_numpy().tolist() == [[30, 40, 30], [0, 0, 100]]
    assert named.attrs["units"] == campaign.map().attrs["units"] and named.attrs["units"]["delta_q"] == "Å⁻¹"
    pd.testing.assert_frame_equal(named.head(1), campaign.predict("Co30V40Zr30"))
    with pytest.raises(CompositionError, match=r"must be atomic fractions that sum to 1, got 100 in row 0; divide at"):
        campaign.predict(np.array([[30.0, 40.0, 30.0]]))
    with pytest.raises(CompositionError, match="names Al which is not among"):
        campaign.predict(["Co30Al70"])


def test_an_alloy_is_generated_as_a_table_and_drawn_over_what_was_measured(finished: Path):
    campaign = glassmap.Campaign(finished)
    spectra = campaign.spectra()
    generated = campaign.generate("Co30V40Zr30")
    assert generated.columns.tolist()[:4] == ["q", "mean", "low", "high"] and len(generated) == len(spectra.axis)
    asked = np.array([[0.3, 0.4, 0.3]])
    np.testing.assert_allclose(generated["mean"], campaign.model().predict(asked).mean[0], rtol=1e-5)
    assert np.all((generated["high"] - generated["low"]).dropna().to_numpy() > 0)
    with pytest.raises(CompositionError, match="of one alloy, got 2"):
        campaign.generate(["Zr100", "Co100"])  # pyright: ignore[reportArgumentType]
    lines = campaign.plot_spectrum(spectra.compositions[0]).axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), spectra.intensities[0])
    assert [line.get_label() for line in lines] == ["measured", "generated (ensemble mean)"]
    assert len(campaign.plot_spectrum("Co31V38Zr31").axes[0].lines) == 1, "nobody measured it"


def test_map_and_curve_are_drawn_and_what_a_map_lacks_is_refused(finished: Path):
    campaign = glassmap.Campaign(finished)
    page = campaign.plot_map()
    assert page.get_suptitle().startswith("small: P(glass), learned from 16 spectra")
    assert isinstance(page, Page) and page._repr_png_().startswith(b"\x89PNG"), "a notebook shows it"
    assert "q₁ of the first peak" in campaign.plot_map("q1").get_suptitle()
    with pytest.raises(ModelError, match=r"A map is drawn of p_glass, delta_q, q1, .*got 'width'"):
        campaign.plot_map("width")
    assert len(campaign.plot_curve().axes[0].lines) > 0


def test_a_remark_is_a_row(finished: Path, tmp_path: Path):
    folder = tmp_path / "noted"
    shutil.copytree(finished, folder)
    assert glassmap.Campaign(folder).notes().empty
    with CampaignStore.amend(folder, person="ada") as store, store.transaction():
        store.record_note("target changed", round_=2)
        store.record_note("looks oxidised", composition=[0.3, 0.4, 0.3])
    notes = glassmap.Campaign(folder).notes()
    assert notes["about"].tolist() == ["round 2", "Co30V40Zr30"] and notes["person"].tolist() == ["ada", "ada"]


def test_a_folder_without_a_campaign_is_refused_in_words(tmp_path: Path):
    with pytest.raises(StoreError, match="No campaign has been started"):
        glassmap.Campaign(tmp_path)


def test_a_campaign_that_has_just_begun_has_empty_tables_and_no_map(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset)
    with open_campaign(tmp_path):
        campaign = glassmap.Campaign(tmp_path)  # while a driver holds the lock
        assert campaign.curve().empty and campaign.measurements().empty
        assert {"id", "Co", "state"} <= set(campaign.measurements().columns)
        for ask in (campaign.map, lambda: campaign.predict(["Zr100"])):
            with pytest.raises(StoreError, match="yet; the first comes with the first round"):
                ask()
        with pytest.raises(DatasetError, match="no sample"):
            _ = campaign.spectra()


def test_of_simulated_spectra_without_a_rule_nobody_says_what_a_glass_is(
    finished: Path, monkeypatch: pytest.MonkeyPatch
):
    assert np.isfinite(glassmap.Campaign(finished).predict("Co30V40Zr30")["p_glass"]).all()
    monkeypatch.setattr(CampaignStore, "source", "simulated")
    campaign = glassmap.Campaign(finished)
    assert np.isnan(campaign.predict("Co30V40Zr30")["p_glass"]).all() and np.isnan(campaign.map()["p_glass"]).all()
    assert "Δq of the first peak" in campaign.plot_map().get_suptitle()


def test_of_a_campaign_of_g_of_r_curves_are_generated_and_no_map_is_asked_for(tmp_path: Path, small_dataset: Path):
    dataset = tmp_path / "rdf.nc"
    write_dataset(replace(read_dataset(small_dataset), axis_name="r"), dataset)
    write_campaign(tmp_path, dataset, stop={"max_rounds": 1})
    run(tmp_path)
    campaign = glassmap.Campaign(tmp_path)
    expected = campaign.predict(["Co30V40Zr30", "Co5V5Zr90"])
    assert [*expected.columns] == ["Co", "V", "Zr", "expected_error", "distance", "known"]
    assert np.all(expected["distance"].to_numpy() > 0)
    assert campaign.generate("Co30V40Zr30").columns[0] == "r"
    assert campaign.plot_spectrum("Co30V40Zr30").axes[0].get_ylabel() == "g(r)"
    for ask in (campaign.map, campaign.plot_map):
        with pytest.raises(
            ModelError, match=r"g\(r\) has no first peak in q, and so no map. `generate` gives the curve"
        ):
            ask()


def test_reading_a_running_campaign_neither_waits_for_it_nor_stops_it(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 1})
    with open_campaign(tmp_path):
        pass  # it has begun
    with ThreadPoolExecutor(1) as beside:
        driver = beside.submit(run, tmp_path)
        seen = set[tuple[int, int]]()
        while not driver.done():
            campaign = glassmap.Campaign(tmp_path)
            seen.add((len(campaign.measurements()), len(campaign.curve())))
        assert driver.result().state in ("exhausted", "converged")
    assert {(0, 0), (8, 0)} & seen and glassmap.Campaign(tmp_path).curve()["round"].tolist() == [1]

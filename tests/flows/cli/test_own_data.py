"""What a laboratory tries first: its own raw scans, beam stop and zeros and all, to a map that says something."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from matplotlib.figure import Figure

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.data.scan_folder import read_scan_folder
from glassmap.agent.data.spectrum import two_theta_from_q
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.report import write_report
from tests.support.command_line import glassmap, told
from tests.support.pages import look, words


@pytest.fixture(scope="module")
def raw_scans(shared_data: Path) -> Path:
    return shared_data / "raw-scans"


def imported(raw_scans: Path, output: Path, *words: object) -> str:
    table = raw_scans / "compositions.csv"
    done = glassmap("import", raw_scans, "--compositions", table, "--axis", "q", "-o", output, *words)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_import_leaves_beam_stop_and_zeros_out_and_says_so(raw_scans: Path, tmp_path: Path):
    said = imported(raw_scans, tmp_path / "raw.nc")
    assert (
        "Every scan has signal over q 0.194 to 4.99 1/Å only. Up to 0.66 the scans climb as behind a beam stop." in said
    )
    assert "A first peak is found there in 56 of 56 scans, over the whole axis in 3." in said
    spectra = read_dataset(tmp_path / "raw.nc")
    assert 0.5 < spectra.axis[0] < 0.9 and 4.9 < spectra.axis[-1] < 5.05 and (spectra.intensities > 0).all()
    assert spectra.attributes["range"] in said and "(`--range 0.66 4.99`)" in said
    assert said.startswith("56 scans over q 0.1945 to 5.364 1/Å, 1000 points. Every scan")
    assert (tmp_path / "raw-spectra.png").read_bytes().startswith(b"\x89PNG")
    asked = imported(raw_scans, tmp_path / "asked.nc", "--range", 1.5, 4.5)
    assert "Taken: q 1.5 to 4.5 1/Å, of q 0.194 to 5.36 1/Å" in asked
    np.testing.assert_allclose(read_dataset(tmp_path / "asked.nc").axis[[0, -1]], (1.5, 4.5), atol=0.01)


def test_import_takes_a_table_as_it_is_and_names_what_is_to_be_looked_at(tmp_path: Path):
    q = np.linspace(1.0, 5.0, 801)
    scans = tmp_path / "scans"
    scans.mkdir()
    rows = ["Spectrum,O norm,Co norm,Zr norm,wafer"]
    for k in range(12):
        y = 500 + 4000 / (1 + ((q - 2.5 - 0.02 * k) / 0.2) ** 2) + 3000 * (k == 5) * np.exp(-(((q - 3.0) / 0.004) ** 2))
        np.savetxt(scans / f"s{k}.txt", np.stack([10 * q, y], axis=1), header="q_nm^-1 I")
        rows.append(f"s{k},10,{9 + 5 * k},{81 - 5 * k},W{k % 2}")
    rows.append("lost,10,45,45,W1")
    (scans / "edx.csv").write_text("\n".join(rows) + "\n")
    words = ["import", scans, "--compositions", scans / "edx.csv", "-o", tmp_path / "x.nc"]
    words += ["--sample-column", "Spectrum", "--unit", "at.%"]
    words += [word for element in ("O", "Co", "Zr") for word in ("--columns", f"{element}={element} norm")]
    words += ["--over", "Co,Zr"]
    refused = glassmap(*words)
    assert refused.exit_code == 3 and "there is no scan of lost" in refused.output, refused.output
    assert "`--skip-unmatched`" in refused.output and not (tmp_path / "x.nc").exists()
    done = glassmap(*words, "--skip-unmatched")
    said = " ".join(done.output.split())
    assert done.exit_code == 0, said
    assert said.startswith(
        "12 scans over q 1 to 5 1/Å, 801 points. A first peak is found over q 1 to 5 1/Å in 12 of 12"
    )
    assert "To look at: s5: A sharp line at 3.00 1/Å" in said and said.count("To look at") == 1
    assert "Rows without a scan were left out (1): lost." in said and "O 10" in said
    spectra = read_dataset(tmp_path / "x.nc")
    np.testing.assert_allclose(spectra.compositions[1], [14 / 90, 76 / 90])
    assert spectra.coordinates["wafer"][:2].tolist() == ["W0", "W1"]


def test_init_records_the_range_that_a_whole_data_set_is_taken_over(raw_scans: Path, tmp_path: Path):
    whole = read_scan_folder(raw_scans, compositions=raw_scans / "compositions.csv", axis="q")
    write_dataset(whole, tmp_path / "whole.nc")
    done = glassmap("init", tmp_path / "c", "--dataset", tmp_path / "whole.nc")
    assert done.exit_code == 0, done.output
    spectrum = CampaignConfig.from_toml(tmp_path / "c" / FILE_NAME).spectrum
    assert (spectrum.low, spectrum.high) == (0.66, 4.99)
    assert glassmap("init", tmp_path / "d", "--dataset", tmp_path / "whole.nc", "--range", 1.5, 4.5).exit_code == 0
    spectrum = CampaignConfig.from_toml(tmp_path / "d" / FILE_NAME).spectrum
    assert (spectrum.low, spectrum.high) == (1.5, 4.5)
    refused = glassmap("init", tmp_path / "e", "--simulate", "Zr-Cu-Al", "--range", 1.5, 4.5)
    assert refused.exit_code == 3 and "A simulation takes no --range" in refused.output


def test_a_campaign_of_a_set_over_two_theta_has_as_many_points_as_its_scans(small_dataset: Path, tmp_path: Path):
    spectra = read_dataset(small_dataset)
    angles = two_theta_from_q(spectra.axis, wavelength=1.5406)
    write_dataset(replace(spectra, axis_name="two_theta", axis=angles, wavelength=1.5406), tmp_path / "angles.nc")
    assert glassmap("init", tmp_path / "c", "--dataset", tmp_path / "angles.nc").exit_code == 0
    assert CampaignConfig.from_toml(tmp_path / "c" / FILE_NAME).spectrum.points == len(spectra.axis)
    assert glassmap("init", tmp_path / "d", "--dataset", small_dataset).exit_code == 0
    assert CampaignConfig.from_toml(tmp_path / "d" / FILE_NAME).spectrum.points is None, "over q they are its own"


def test_scans_without_any_peak_go_no_further(raw_scans: Path, tmp_path: Path):
    output = tmp_path / "x.nc"
    table = raw_scans / "compositions.csv"
    done = glassmap("import", raw_scans, "--compositions", table, "--axis", "q", "-o", output, "--range", 0.2, 2.0)
    assert done.exit_code == 3 and not output.exists()
    assert "in 0 of 56 scans" in " ".join(done.output.split()) and "`--range LOW HIGH`" in done.output


# --- to a map


def ran(folder: Path, data: Path, *words: object) -> str:
    """What is said of a campaign of one round over a coarse grid, with a model that takes no time to train."""
    done = glassmap("init", folder, "--dataset", data, *words)
    assert done.exit_code == 0, done.output
    settings = tomllib.loads((folder / FILE_NAME).read_text())
    settings["space"]["step_at_pct"] = 5
    settings["model"] |= {"members": 2, "steps": 5}
    settings["stop"]["max_rounds"] = 1
    (folder / FILE_NAME).write_text(tomli_w.dumps(settings))
    done = glassmap("run", folder)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def mute(raw_scans: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A campaign over all that the raw scans hold, against the advice, and what its command said."""
    folder = tmp_path_factory.mktemp("mute")
    write_dataset(read_scan_folder(raw_scans, compositions=raw_scans / "compositions.csv", axis="q"), folder / "raw.nc")
    return folder / "mute", ran(folder / "mute", folder / "raw.nc", "--range", 0.2, 5.36)


def test_raw_scans_become_a_map_of_alloys_with_a_peak(raw_scans: Path, tmp_path: Path):
    imported(raw_scans, tmp_path / "raw.nc")
    said = ran(tmp_path / "raw", tmp_path / "raw.nc")
    assert said.split()[:2] == ["round", "1:"] and "Nothing can be said" not in said
    with CampaignStore.read_only(tmp_path / "raw") as store:
        found = store.peaks_found
    assert found is not None and found.spectra_with_peak == found.spectra
    assert found.alloys_with_peak > 0.8 * found.alloys


def test_a_map_without_peaks_is_told_as_a_failure_with_cause_and_command(mute: tuple[Path, str]):
    folder, said = mute
    assert (
        "Nothing can be said of this system yet: only" in said
        and "alloys on the map of round 1 have a first peak" in said
    )
    assert "measured spectra have one. Over 0.66 to 4.99 most have: what lies beyond is a beam stop" in said
    assert "Begin another campaign with `--range 0.66 4.99`. The campaign has stopped." in said
    assert "converged" not in said.lower()
    done, status = glassmap("status", folder), told("status", folder)
    assert "converged" not in done.output.lower() and "Nothing can be said" in done.output
    assert status["failure"] and status["reason"].startswith(status["failure"])
    assert status["peaks_found"]["alloys_with_peak"] < 0.5 * status["peaks_found"]["alloys"] == 85.5


def test_no_page_report_or_picture_calls_a_map_without_peaks_a_success(
    mute: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, _ = mute
    told = "Nothing can be said of this system yet"
    page = look(monkeypatch, folder.parent, "campaigns")
    assert f":red[{told}" in words(page) and ":red-badge[:material/error: nothing can be said]" in words(page)
    assert ":green" not in words(page) and "is largest at" not in words(page)
    assert f":red[{told}" in words(look(monkeypatch, folder.parent, "map", "mute"))
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: drawn.append(figure))
    write_report(folder, tmp_path / "mute.html")
    assert f"<strong class=failure>{told}" in (tmp_path / "mute.html").read_text()
    titles = [figure.get_suptitle() for figure in drawn]
    assert sum(told in title for title in titles) == 2 * len(FIGURES), "every map, as PNG and as SVG"

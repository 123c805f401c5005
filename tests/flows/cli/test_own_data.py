"""What a laboratory tries first: its own raw scans, beam stop and zeros and all, to a map that says something."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.data.scan_folder import read_scans
from tests.support.command_line import glassmap


@pytest.fixture(scope="module")
def raw_scans(shared_data: Path) -> Path:
    return shared_data / "raw-scans"


def imported(raw_scans: Path, output: Path, *words: object) -> str:
    done = glassmap("import", raw_scans, "--compositions", raw_scans / "compositions.csv", "-o", output, *words)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_import_leaves_beam_stop_and_zeros_out_and_says_so(raw_scans: Path, tmp_path: Path):
    said = imported(raw_scans, tmp_path / "raw.nc")
    assert (
        "Every scan has signal over q 0.194 to 4.99 1/Å only. Up to 0.66 the scans climb as behind a beam stop." in said
    )
    assert "A first peak is found there in 56 of 56 scans, over the whole axis in 4." in said
    spectra = read_dataset(tmp_path / "raw.nc")
    assert 0.5 < spectra.axis[0] < 0.9 and 4.9 < spectra.axis[-1] < 5.05 and (spectra.intensities > 0).all()
    assert spectra.attributes["range"] in said
    asked = imported(raw_scans, tmp_path / "asked.nc", "--range", 1.5, 4.5)
    assert "Taken: q 1.5 to 4.5 1/Å, of q 0.194 to 5.36 1/Å" in asked
    np.testing.assert_allclose(read_dataset(tmp_path / "asked.nc").axis[[0, -1]], (1.5, 4.5), atol=0.01)


def test_init_records_the_range_that_a_whole_data_set_is_taken_over(raw_scans: Path, tmp_path: Path):
    whole = read_scans(raw_scans, compositions=raw_scans / "compositions.csv", axis="q")
    write_dataset(whole, tmp_path / "whole.nc")
    done = glassmap("init", tmp_path / "c", "--dataset", tmp_path / "whole.nc")
    assert done.exit_code == 0, done.output
    spectrum = CampaignConfig.from_toml(tmp_path / "c" / FILE_NAME).spectrum
    assert (spectrum.low, spectrum.high) == (0.66, 4.99)
    assert glassmap("init", tmp_path / "d", "--dataset", tmp_path / "whole.nc", "--range", 1.5, 4.5).exit_code == 0
    spectrum = CampaignConfig.from_toml(tmp_path / "d" / FILE_NAME).spectrum
    assert (spectrum.low, spectrum.high) == (1.5, 4.5)
    refused = glassmap("init", tmp_path / "e", "--simulate", "Zr-Cu-Al", "--range", 1.5, 4.5)
    assert refused.exit_code == 1 and "A simulation takes no --range" in refused.output


def test_scans_without_any_peak_go_no_further(raw_scans: Path, tmp_path: Path):
    output = tmp_path / "x.nc"
    done = glassmap(
        "import", raw_scans, "--compositions", raw_scans / "compositions.csv", "-o", output, "--range", 0.2, 2.0
    )
    assert done.exit_code == 1 and not output.exists()
    assert "in 0 of 56 scans" in " ".join(done.output.split()) and "`--range LOW HIGH`" in done.output

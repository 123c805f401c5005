"""What a replay holds out of a data set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.errors import CampaignError
from glassmap.flows.backends.replay import split, wafers_of


@pytest.mark.parametrize(
    ("called", "names"), [(("west", "east", ""), ["east", "west"]), ((10.0, 2.0, np.nan), ["2", "10"])]
)
def test_a_wafer_is_held_out_whole_and_never_the_samples_that_name_none(
    small_dataset: Path, called: tuple[str | float, ...], names: list[str]
):
    wafers = np.array(called)[np.arange(150) % 3]
    spectra = replace(read_dataset(small_dataset), coordinates={"wafer": wafers})
    of = np.array(wafers_of(spectra))
    for seed in range(4):
        held = split(spectra, "wafer", share=0.3, seed=seed)
        assert held.sum() == 50 and {*of[held]} == {names[seed % 2]}


def test_one_wafer_beside_samples_that_name_none_is_too_few_to_hold_one_out(small_dataset: Path):
    spectra = read_dataset(small_dataset)
    spectra = replace(spectra, coordinates={"wafer": np.where(np.arange(150) % 2, 3.0, np.nan)})
    with pytest.raises(CampaignError, match="two or more wafers, got 1"):
        split(spectra, "wafer", share=0.3, seed=0)

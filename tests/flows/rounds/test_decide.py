"""Decide: when a campaign has enough, and what has it go on."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import SpaceExhausted
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import fingerprint, rows, run, write_campaign


def test_an_exhausted_space_ends_the_campaign_with_its_last_alloy(tmp_path: Path, small_dataset: Path):
    few = tmp_path / "few.nc"
    write_dataset(read_dataset(small_dataset).select(np.arange(20)), few)
    write_campaign(tmp_path, few, stop={"max_rounds": 9, "patience": 9})
    status = run(tmp_path)
    assert status.state == "exhausted" and "no alloy is left to measure" in status.reason
    assert status.spectra == 14, "all of the 70 % that may be planned"
    with open_campaign(tmp_path) as campaign, pytest.raises(SpaceExhausted):
        STAGES["plan"](campaign, 3)


def test_a_larger_budget_lets_an_exhausted_campaign_go_on(continued: Path, small_dataset: Path, tmp_path: Path):
    write_campaign(continued, small_dataset, stop={"max_rounds": 4})
    status = run(continued)
    assert (status.state, status.rounds, status.spectra) == ("exhausted", 4, 32)
    write_campaign(tmp_path / "at once", small_dataset, stop={"max_rounds": 4})
    run(tmp_path / "at once")
    assert fingerprint(continued) == fingerprint(tmp_path / "at once")


def test_a_laxer_rule_makes_a_campaign_that_has_stopped_decide_again(continued: Path, small_dataset: Path):
    write_campaign(continued, small_dataset, stop={"tolerance": 0.99, "patience": 1})
    assert run(continued).state == "converged"
    assert rows(continued, "SELECT round, state FROM decisions") == [
        (1, "continue"),
        (2, "continue"),
        (3, "converged"),
    ]

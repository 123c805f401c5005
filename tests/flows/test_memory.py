"""Memory that runs out, the computer's or a GPU's, is said in a sentence, in a stage and in a command."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.cli.terminal import errors_in_words
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import run_round
from tests.support.campaigns import write_campaign


def on_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79.1 GiB.\nSee the manual")


def in_a_library_of_the_gpu() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


WAYS = [
    (lambda: np.empty(10**15), r"This computer's memory ran out \(Unable to allocate 7\.11 PiB"),
    (lambda: torch.empty(10**15), r"This computer's memory ran out \(.*can't allocate memory"),
    (lambda: bytearray(10**15), r"This computer's memory ran out\. End other programs"),
    (
        on_the_gpu,
        r"The GPU's memory ran out \(CUDA out of memory\. Tried to allocate 2\.00 GiB\. GPU 0 has 79\.1 GiB\)\. ",
    ),
    (in_a_library_of_the_gpu, r'The GPU\'s memory ran out .*set device to another or to "cpu"'),
]


@pytest.mark.parametrize(("fails", "sentence"), WAYS)
def test_a_stage_without_memory_fails_with_a_sentence(
    tmp_path: Path, small_dataset: Path, fails: Callable[[], object], sentence: str
):
    def stage(campaign: OpenCampaign, round_: int) -> str:
        fails()
        return "done"

    write_campaign(tmp_path, small_dataset)
    with open_campaign(tmp_path) as campaign, pytest.raises((MemoryError, RuntimeError)):
        run_round(campaign, 1, stages={"plan": stage})
    with CampaignStore.read_only(tmp_path) as store:
        said = store.status().reason
    assert re.match(f"Round 1, plan: {sentence}", said) and said.endswith("run the same command again.")
    assert "\n" not in said


@pytest.mark.parametrize(("fails", "sentence"), WAYS)
def test_a_command_without_memory_ends_with_a_sentence(
    fails: Callable[[], object], sentence: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(typer.Exit), errors_in_words():
        fails()
    assert re.search(sentence, capsys.readouterr().err)


def test_another_error_stays_as_it_is():
    with pytest.raises(RuntimeError, match="a bug"), errors_in_words():
        raise RuntimeError("a bug, in CUDA or not")

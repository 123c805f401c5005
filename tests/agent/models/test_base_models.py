"""The registry of base models: another one is its file and a line."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from glassmap.agent.errors import ModelError
from glassmap.agent.maps.peak_map import SHARD
from glassmap.agent.models import base_models
from glassmap.agent.models.base_model import (
    BLOCK,
    Known,
    PredictedBlock,
    Saved,
    TrainedBaseModel,
    block_size,
    blocks_of,
    on_cpu,
)
from glassmap.agent.models.base_models import BASE_MODELS, Setup
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.models.protocol import Prediction
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Compositions, Groups, Spectra
from tests.support.models import CPU, TINY, peaks


@dataclass(frozen=True)
class MeanSpectrum:
    """The mean of all spectra, everywhere: what a student would write first."""

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups | None = None,
        report: Report = ignore,
    ) -> "TrainedMean":
        return TrainedMean(Known.of(compositions, spectra, CPU))

    def leave_out(
        self,
        fold: int,
        trained: TrainedBaseModel,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups,
    ) -> "TrainedMean":
        return self.fit(compositions[folds != fold], spectra[folds != fold], seed=seed)

    def restore(self, saved: Saved, known: Known) -> "TrainedMean":
        return TrainedMean(known)


@dataclass(frozen=True, eq=False)
class TrainedMean:
    known: Known
    extrapolates: ClassVar[bool] = False

    def predict_block(self, compositions: torch.Tensor) -> PredictedBlock:
        return PredictedBlock(self.known.spectra.mean(0).expand(1, len(compositions), 1, -1))

    def draw_block(self, compositions: torch.Tensor, stream: torch.Generator, *, alike: bool = False) -> None: ...

    def predict(self, compositions: Compositions) -> Prediction:
        mean = on_cpu([self.predict_block(block).mean for block in blocks_of(compositions, CPU)])
        return Prediction(mean, None, np.full_like(mean, np.nan))

    def save(self) -> Saved:
        return Saved({}, {})


@pytest.fixture
def one_more_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASE_MODELS, "mean", lambda setup: MeanSpectrum())


def test_a_line_of_the_registry_is_enough_to_stack_another_model(one_more_model: None, tmp_path: Path):
    x, q, y = peaks(30)
    noise = 50 + 20 * np.random.default_rng(0).normal(size=y.shape)
    ensemble = Ensemble(TINY, device="cpu").fit(x, noise)
    assert [*ensemble.weights] == [*BASE_MODELS] and "mean" in BASE_MODELS
    assert ensemble.weights["mean"] > ensemble.weights["trees"], "nothing else is to be learned of noise"
    assert next(ensemble.predict_blocks(x))[1].shape[1] == TINY.members + len(BASE_MODELS) - 1
    loaded = TrainedEnsemble.load(ensemble.save(tmp_path, axis=q, record={}), device="cpu")
    for one, other in zip(ensemble.predict(x), loaded.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_is_read_by_a_registry_that_has_grown_and_refused_by_one_that_lost_a_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    x, q, y = peaks(30)
    ensemble = Ensemble(TINY, device="cpu").fit(x, y)
    path = ensemble.save(tmp_path, axis=q, record={})
    monkeypatch.setitem(BASE_MODELS, "mean", lambda setup: MeanSpectrum())
    loaded = TrainedEnsemble.load(path, device="cpu")
    assert loaded.weights == ensemble.weights
    np.testing.assert_array_equal(loaded.predict(x).mean, ensemble.predict(x).mean)
    monkeypatch.delitem(BASE_MODELS, "trees")
    with pytest.raises(ModelError, match="base models that are gone: trees"):
        TrainedEnsemble.load(path, device="cpu")


def test_without_one_of_them_the_others_are_stacked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(BASE_MODELS, "trees")
    x, _, y = peaks(30)
    ensemble = Ensemble(TINY, device="cpu").fit(x, y)
    assert [*ensemble.weights] == [*BASE_MODELS] and "trees" not in BASE_MODELS
    assert np.isfinite(ensemble.predict(x).mean).all()


def test_an_ensemble_that_is_not_stacked_has_networks_alone():
    setup = Setup(TINY.model_copy(update={"stacked": False}), CPU)
    assert tuple(base_models.base_models(setup)) == base_models.ALONE


@pytest.mark.parametrize(("gib", "size"), [(0.5, 256), (8, 2048), (24, 4096), (80, 16384), (139, 16384)])
def test_a_gpus_memory_decides_how_many_alloys_go_at_once_and_shards_are_whole_blocks(monkeypatch, gib, size):
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=int(gib * 2**30))
    )
    assert block_size(torch.device("cuda")) == size
    assert SHARD % size == 0
    assert block_size(CPU) == BLOCK

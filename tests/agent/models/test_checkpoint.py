"""Checkpoints: whole or refused, each base model under its name, those of version 0.1 read as well."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save

from glassmap.agent.errors import ModelError
from glassmap.agent.models import format_3, network_ensemble, networks
from glassmap.agent.models.base_models import BASE_MODELS
from glassmap.agent.models.config import PRESETS
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from tests.support.models import TINY, peaks

BEFORE = Path(__file__).parents[2] / "support" / "format-3"  # written by version 0.1, with what it predicted
PAPER = PRESETS["paper"].model_copy(update={"members": 2, "steps": 2, "batch_size": 4})


@pytest.mark.parametrize("config", [TINY.model_copy(update={"energy": 1.0}), PAPER], ids=["default", "paper"])
def test_a_checkpoint_predicts_the_same_spectra_bit_for_bit(tmp_path: Path, config):
    x, q, y = peaks(20)
    ensemble = Ensemble(config, seed=5, device="cpu").fit(x, y)
    path = ensemble.save(tmp_path, axis=q, record={"round": 3})
    loaded = TrainedEnsemble.load(path, device="cpu")
    for saved, again in zip(ensemble.predict(x), loaded.predict(x), strict=True):
        np.testing.assert_array_equal(saved, again)
    assert (loaded.record, loaded.seed, loaded.config) == ({"round": 3}, 5, config)
    assert loaded.weights == ensemble.weights
    np.testing.assert_array_equal([loaded.oof_mse], [ensemble.oof_mse])
    np.testing.assert_array_equal(loaded.axis, q)
    np.testing.assert_array_equal(loaded.draws(x, 3, 0), ensemble.draws(x, 3, 0))
    assert loaded.save(tmp_path, axis=q, record={"round": 3}) == path
    assert len(list(tmp_path.iterdir())) == 2


def test_each_base_model_stands_under_its_name_and_the_spectra_once(tmp_path: Path):
    x, q, y = peaks(20)
    path = Ensemble(TINY, device="cpu").fit(x, y).save(tmp_path, axis=q, record={})
    facts, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    assert set(facts["models"]) == set(facts["weights"]) == set(BASE_MODELS)
    owners = {name.split(".")[0] for name in tensors}
    assert {"networks", "gaussian_process", "trees", "known", "axis", "oof_rmse"} <= owners
    assert owners <= {*BASE_MODELS, "known", "axis", "oof_rmse", "left_out", "forecasts"}, (
        "a model may need no more than the spectra"
    )
    assert [name for name, tensor in tensors.items() if tensor.shape == (20, 96)] == ["known.spectra", "left_out"]


@pytest.mark.parametrize("harm", ["cut", "changed", "weights gone", "format", "model gone", "no json"])
def test_a_harmed_checkpoint_is_refused_in_words(tmp_path: Path, harm: str):
    x, q, y = peaks(10)
    path = Ensemble(TINY, device="cpu").fit(x, y).save(tmp_path, axis=q, record={})
    weights = path.with_suffix(".safetensors")
    if harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "changed":
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    elif harm == "weights gone":
        weights.unlink()
    elif harm == "no json":
        path.write_text("{")
    else:
        facts = json.loads(path.read_text())
        change = {"format": 5} if harm == "format" else {"models": {"networks": facts["models"]["networks"]}}
        path = write(tmp_path, facts | change, weights.read_bytes())
    with pytest.raises(ModelError, match="format 5" if harm == "format" else "no whole checkpoint"):
        TrainedEnsemble.load(path)


def test_a_checkpoint_of_version_0_1_predicts_what_it_did():
    (path,) = BEFORE.glob("*.json")
    with np.load(BEFORE / "predicted.npz") as before:
        ensemble = TrainedEnsemble.load(path, device="cpu")
        predicted = ensemble.predict(before["compositions"])._asdict()
        del predicted["sample"], predicted["aleatoric_std"]  # one was no draw, the other weighed with the networks
        for name, spectra in predicted.items():
            np.testing.assert_allclose(spectra, before[name], atol=1e-4, err_msg=name)
    facts = json.loads(path.read_text())
    assert tuple(ensemble.weights.values()) == tuple(facts["votes"])
    assert (ensemble.oof_mse, ensemble.seed, ensemble.record) == (facts["unseen_mse"], 5, {"round": 3})


def test_a_checkpoint_of_version_0_1_is_saved_as_one_of_today(tmp_path: Path):
    (path,) = BEFORE.glob("*.json")
    before = TrainedEnsemble.load(path, device="cpu")
    again = TrainedEnsemble.load(before.save(tmp_path, axis=before.axis, record=before.record), device="cpu")
    x = peaks(9)[0]
    for one, other in zip(before.predict(x), again.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_published_network_of_version_0_1_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network_ensemble, "CANDIDATES", format_3.DRAWS)
    monkeypatch.setattr(networks, "PAPER", replace(networks.PAPER, draws=format_3.DRAWS))
    x, q, y = peaks(12)
    ensemble = Ensemble(PAPER, seed=4, device="cpu").fit(x, y)
    now = ensemble.save(tmp_path / "now", axis=q, record={})
    facts, tensors = json.loads(now.read_text()), load_file(now.with_suffix(".safetensors"))
    widths = facts["models"]["networks"]["widths"]
    old = {
        "axis": tensors["axis"],
        "usual": tensors["oof_rmse"] / 2,
        **{
            name.removeprefix("networks.").replace("generator.stem.", "generator.stem.0."): tensor
            for name, tensor in tensors.items()
            if name.startswith("networks.generator.")
        },
    }
    path = write(
        tmp_path,
        {
            **{name: facts[name] for name in ("seed", "floor", "scale", "record")},
            "format": 3,
            "config": facts["config"] | {"hidden": None, "noise": None, "vicinity": "soft"},
            "architecture": widths | {"stem": [], "critic_channels": [], "critic_kernels": [], "critic_strides": []},
            "votes": [1.0, 0.0, 0.0],
            "quantile": None,
            "unseen_mse": None,
            "elements": 3,
            "points": 96,
        },
        save(old),
    )
    for one, other in zip(ensemble.predict(x), TrainedEnsemble.load(path, device="cpu").predict(x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)  # they draw in another order


def write(folder: Path, facts: dict, weights: bytes) -> Path:
    """Write both halves under the name that their content asks for."""
    text = json.dumps(facts)
    digest = hashlib.sha256(weights + text.encode()).hexdigest()[:16]
    (folder / f"{digest}.safetensors").write_bytes(weights)
    (folder / f"{digest}.json").write_text(text)
    return folder / f"{digest}.json"

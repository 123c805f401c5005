"""Maps: shards, kills, distances, and an alloy's spectrum as the map saw it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.maps import peak_map as peak_map
from glassmap.agent.maps.peak_map import PeakMap, block_of, map_block
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from tests.support.models import TINY, peaks


@pytest.fixture(scope="module")
def trained() -> tuple[TrainedEnsemble, np.ndarray, np.ndarray]:
    x, q, y = peaks(30)
    return Ensemble(TINY, device="cpu").fit(x, y), x, q


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_map, "SHARD", 64)


def a_map(trained: tuple[TrainedEnsemble, np.ndarray, np.ndarray], **metadata: object) -> PeakMap:
    ensemble, x, q = trained
    return PeakMap(ensemble, CompositionSpace(("Co", "V", "Zr"), step_at_pct=4), q, x, {"round": 1, **metadata})


@pytest.mark.usefixtures("small_shards")
def test_several_processes_can_share_a_map(trained, tmp_path: Path):
    alone = a_map(trained).write(tmp_path / "alone")
    shared = a_map(trained)
    assert len(shared.shards) == 5  # 276 alloys
    for number in (3, 0, 4):  # as another process would
        a_map(trained).write_shard(number, tmp_path / "shared")
    assert shared.write(tmp_path / "shared").name == alone.name, "files are called by the hash of their content"
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [alone.name], "shards are tidied away"


@pytest.mark.usefixtures("small_shards")
def test_a_map_that_was_cut_goes_on_with_the_shards_that_are_missing(trained, tmp_path: Path, monkeypatch):
    told, mapped = [], []

    def cut(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        told.append((done, total))
        if done == 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_map(trained).write(tmp_path, report=cut)
    assert told == [(64, 276), (128, 276)]
    assert not list(tmp_path.glob("*.parquet")) and not list(tmp_path.glob(".partial*"))

    def counted(ensemble, compositions, **more):
        mapped.append(len(compositions))
        return map_block(ensemble, compositions, **more)

    monkeypatch.setattr(peak_map, "map_block", counted)
    path = a_map(trained).write(tmp_path)
    assert mapped == [64, 64, 20]
    assert len(read_map(path)[0]["q1"]) == 276


@pytest.mark.usefixtures("small_shards")
def test_shards_of_another_model_are_not_taken(trained, tmp_path: Path):
    first = a_map(trained, checkpoint="a").write_shard(0, tmp_path)
    second = a_map(trained, checkpoint="b").write_shard(0, tmp_path)
    assert first != second


@pytest.mark.usefixtures("small_shards")
def test_shards_of_another_version_are_not_taken(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours = a_map(trained).shard_folder(tmp_path)
    monkeypatch.setattr("glassmap.agent.maps.peak_map.__version__", "0.2.9")
    assert a_map(trained).shard_folder(tmp_path) != ours


def test_shards_of_another_space_are_not_taken_and_a_harmed_one_is_made_again(trained, tmp_path: Path):
    ensemble, x, q = trained
    spaces = [CompositionSpace(("Co", "V", "Zr"), step_at_pct=4, bounds_at_pct={e: (0, 50)}) for e in ("Co", "V")]
    first, second = (PeakMap(ensemble, space, q, x, {}) for space in spaces)
    assert len(spaces[0]) == len(spaces[1]) and first.shard_folder(tmp_path) != second.shard_folder(tmp_path)
    whole = first.write(tmp_path / "whole")
    shard = first.write_shard(0, tmp_path)
    content = shard.read_bytes()
    for harm in (b"", content[:-9], content[:900] + bytes([content[900] ^ 1]) + content[901:]):
        shard.parent.mkdir(exist_ok=True)
        shard.write_bytes(harm)
        assert first.write(tmp_path).name == whole.name


def test_the_distance_is_to_the_nearest_alloy_learned_from(trained, tmp_path: Path):
    columns, metadata = read_map(a_map(trained).write(tmp_path))
    alloys = np.stack([columns[element] for element in ("Co", "V", "Zr")], axis=1)
    expected = np.linalg.norm(alloys[:, None] - 100 * trained[1], axis=2).min(axis=1)
    np.testing.assert_allclose(columns["distance"], expected, rtol=1e-5)
    assert metadata == {"round": 1}


def test_an_alloys_spectrum_comes_again_as_the_map_saw_it(trained, tmp_path: Path):
    ensemble, _, q = trained
    columns, _ = read_map(a_map(trained).write(tmp_path))
    space = a_map(trained).space
    whole = torch.cat([mean for mean, *_ in ensemble.predict_blocks(space.compositions(np.arange(len(space))))])
    for rank in (0, 170, 255, 256, 275):
        block, row = block_of(space, space.compositions(np.array([rank]))[0], size=ensemble.block_size)
        ((mean, members, *_),) = ensemble.predict_blocks(block)
        assert torch.equal(mean[row], whole[rank]), "to the bit"
        found, alone = measure_peaks(q, mean[row : row + 1]), measure_peaks(q, members[row])
        assert columns["peak_share"][rank] == pytest.approx(alone.found.double().mean())
        assert bool(found.found) == np.isfinite(columns["q1"][rank])
        for figure in ("q1", "delta_q"):
            if found.found:
                assert float(found.figures[figure]) == pytest.approx(columns[figure][rank], rel=1e-4)
            if found.found and alone.found.sum() > 1:
                away = (alone.figures[figure][alone.found] - found.figures[figure]).double()
                std = (away.square().sum() / (len(away) - 1)).sqrt()
                assert float(std) == pytest.approx(columns[f"{figure}_std"][rank], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("at_pct", [(20.5, 40.0, 39.5), (0.0, 50.0, 50.0), (21.0, 39.0, 40.0)])
def test_an_alloy_off_the_grid_comes_alone(at_pct: tuple[float, ...]):
    composition = np.array(at_pct) / 100
    block, row = block_of(CompositionSpace(("Co", "V", "Zr"), step_at_pct=2), composition, size=256)
    np.testing.assert_array_equal(block, composition[None])
    assert row == 0

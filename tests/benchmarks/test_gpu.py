"""What wants a GPU goes its whole way without one, with next to no work."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glassmap.agent.models import networks
from tests.benchmarks import gpu, speed
from tests.support.small_dataset import write_small_dataset


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of a few channels."""
    for name in ("PAPER", "LARGE"):
        wide = getattr(networks, name)
        critic = replace(wide.critic, channels=(4,) * 5, hidden=8)
        monkeypatch.setattr(
            networks, name, replace(wide, widths=replace(wide.widths, channels=(16,) * 5), critic=critic)
        )
    monkeypatch.setattr(speed, "SECONDS", 0.02)
    monkeypatch.setattr(speed, "FIT_STEPS", 2)
    monkeypatch.setattr(gpu, "GRID", 20)


@pytest.mark.usefixtures("narrow")
def test_every_part_runs_and_tells_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    (tmp_path / "synchrotron").mkdir()
    write_small_dataset(tmp_path / "synchrotron" / "co-v-zr.nc")
    monkeypatch.setenv("GLASSMAP_SHARED_DATA", str(tmp_path))
    gpu.main(600, tiny=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not [one for one in told if one["what"] == "failed"]
    parts = [one["name"] for one in told if one["what"] == "part"]
    assert parts == [part.__name__ for part, _ in gpu.PARTS]
    whats = {one["what"] for one in told}
    assert whats >= {"published", "map", "curve", "training", "together", "peaks", "generative", "rounding", "again"}
    (published,) = (one for one in told if one["what"] == "published")
    assert published["nearest"] < published["one"], "two steps teach nothing, and the control stands beside it"


def test_without_a_gpu_it_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="Run it on a machine that has one, or with --tiny"):
        gpu.main(10)


def test_a_part_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, capsys):
    def fails(run: gpu.Run) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(gpu, "PARTS", ((fails, 0.5), (lambda run: gpu.show("went on"), 0.5)))
    gpu.main(10, tiny=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "out of memory" in next(one for one in told if one["what"] == "failed")["error"]
    assert any(one["what"] == "went on" for one in told)

"""What a GPU makes of it: whether it comes to what a CPU comes to, and how fast; the most important first.

    python -m tests.benchmarks.gpu [SECONDS]

A line of JSON a figure, as it goes, so that a run that is cut has told what it knew.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.maps.peak_map import PeakMap
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.models.config import PRESETS
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from tests.benchmarks import speed

SAMPLES, POINTS, GRID = 60, 800, 5  # spectra learned from; their points; at.% of the map's grid


def show(what: str, **figures: Any) -> None:
    """Print a figure."""
    print(json.dumps({"what": what, **figures}), flush=True)


def agree(preset: str, *, steps: int) -> None:
    """Tell how far what one device learned and predicts is from what another comes to, from the same seed."""
    compositions, q, spectra = speed.made_up_spectra(SAMPLES, points=POINTS)
    asked = np.random.default_rng(1).dirichlet((1, 1, 1), 300)
    config = PRESETS[preset].model_copy(update={"steps": steps})
    seconds, predictions = {}, {}
    for device in ("cpu", "cuda"):
        if device == "cpu" and preset == "paper":
            continue  # takes hours
        start = time.perf_counter()
        trained = Ensemble(config, device=device).fit(compositions, spectra)
        seconds[device], predictions[device] = time.perf_counter() - start, trained.predict(asked)
        with tempfile.TemporaryDirectory() as folder:
            saved = trained.save(Path(folder), axis=q, record={})
            for other in ("cuda", "cpu"):
                again = TrainedEnsemble.load(saved, device=other).predict(asked)
                off = float(np.abs(again.mean - predictions[device].mean).max())
                show("checkpoint", preset=preset, learned_on=device, read_on=other, off=off)
    if len(predictions) == 2:
        off = {
            name: float(np.abs(one - two).max())
            for name, one, two in zip(predictions["cpu"]._fields, *predictions.values(), strict=True)
        }
        show("learned on either", preset=preset, steps=steps, **off)
    show("fit", preset=preset, steps=steps, members=config.members, **seconds)


def repeat(preset: str, *, steps: int, device: str = "cuda") -> None:
    """Tell whether the same seed gives the same checkpoint and the same map again, by the hashes in their names."""
    compositions, q, spectra = speed.made_up_spectra(SAMPLES, points=POINTS)
    config, space = PRESETS[preset].model_copy(update={"steps": steps}), CompositionSpace(("Co", "Ti", "Zr"), GRID)
    checkpoints, maps, means = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            trained = Ensemble(config, seed=1, device=device).fit(compositions, spectra)
            checkpoints.append(trained.save(Path(folder), axis=q, record={}).stem)
            maps.append(PeakMap(trained, space, q, compositions, {}).write(Path(folder)).stem)
            means.append(trained.predict(compositions).mean)
    off = max(float(np.abs(mean - means[0]).max()) for mean in means)
    show("again", preset=preset, steps=steps, device=device, checkpoints=checkpoints, maps=maps, off=off)


def map_on_both() -> None:
    """Tell how far the maps of one ensemble on either device are from each other, 1/Å."""
    compositions, q, spectra = speed.made_up_spectra(SAMPLES, points=POINTS)
    trained = Ensemble(PRESETS["default"].model_copy(update={"steps": 300}), device="cpu").fit(compositions, spectra)
    space, columns = CompositionSpace(("Co", "Ti", "Zr"), GRID), {}
    with tempfile.TemporaryDirectory() as folder:
        saved = trained.save(Path(folder), axis=q, record={})
        for device in ("cpu", "cuda"):
            map_ = PeakMap(TrainedEnsemble.load(saved, device=device), space, q, compositions, {})
            columns[device] = read_map(map_.write(Path(folder) / device))[0]
    off = {name: float(np.nanmax(np.abs(columns["cpu"][name] - columns["cuda"][name]))) for name in columns["cpu"]}
    show("map", alloys=len(space), **{name: figure for name, figure in off.items() if name not in space.elements})


def main(seconds: float) -> None:
    """Tell all of it; of the longest map so many seconds."""
    show("device", name=torch.cuda.get_device_name(), torch=torch.__version__)
    agree("default", steps=300)
    map_on_both()
    repeat("default", steps=300)
    repeat("paper", steps=60)
    agree("paper", steps=100)
    for preset, points in (("default", POINTS), ("paper", 3743)):
        speed.run(
            config=PRESETS[preset],
            points=points,
            members=(1, 5),
            elements=(3, 4) if preset == "default" else (3,),
            device="cuda",
            longest_map=seconds,
            on_record=lambda record, preset=preset: show(preset, figure=record),
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)

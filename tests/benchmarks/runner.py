"""What a Dask cluster costs and gains: simulations, a training and a map here and on workers of this machine."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import MeasurementError
from glassmap.agent.maps.peak_map import PeakMap
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.flows.compute.dask_cluster import Cluster
from glassmap.simulation.lammps import available_cores, find_lammps, generous_timeout, simulate_all
from glassmap.simulation.melt_quench import PRESETS, Simulation
from glassmap.simulation.potential import load_potential
from tests.benchmarks.planning import ELEMENTS
from tests.benchmarks.speed import FIT_STEPS, made_up_spectra

EMPTY_TASKS = 200
SYSTEM = ("Zr", "Cu", "Al")


def run(
    *,
    config: TrainingConfig,
    workers: Sequence[int] = (1, 2),
    alloys: int = 8,
    atoms: int = 500,
    elements: int = 4,
    step_at_pct: int = 1,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a runner, in seconds: `start` until every worker is ready, `simulations`, `training`, `map`.

    `task_ms` is what a task costs that does nothing. Last comes how many times faster the most workers are than the
    fewest.

    Args:
        config: Of the ensemble.
        workers: Numbers of single-thread processes.
        alloys: To simulate.
        atoms: Of each; the rest of the protocol is the preset `quick`'s.
        elements: Of the system to map.
        step_at_pct: Of its grid.
        on_record: Called with every record as it is there.

    Raises:
        MeasurementError: If a simulation fails.
        ClusterError: If Dask isn't installed.
    """
    records: list[dict[str, Any]] = []

    def add(record: dict[str, Any]) -> None:
        records.append(record)
        on_record(record)

    measure = partial(
        _seconds, config=config, alloys=alloys, atoms=atoms, space=CompositionSpace(ELEMENTS[:elements], step_at_pct)
    )
    add({"runner": f"local, {available_cores()} cores", **measure(None)})
    for n in workers:
        with closing(Cluster(workers=n, device="cpu")) as cluster:
            start = time.perf_counter()
            cluster.client.wait_for_workers(n)
            _do_nothing(cluster, 4 * n)  # each loads the programs that it needs
            ready = time.perf_counter()
            _do_nothing(cluster, EMPTY_TASKS)
            task = (time.perf_counter() - ready) / EMPTY_TASKS
            found = measure(cluster)
        add({"runner": f"dask, {n} worker{'s' * (n > 1)}", **found, "start": ready - start, "task_ms": 1000 * task})
    fewest, most = (records[1 + workers.index(n)] for n in (min(workers), max(workers)))
    add(
        {"runner": f"times faster, {min(workers)} to {max(workers)} workers"}
        | {what: fewest[what] / most[what] for what in ("simulations", "training", "map")}
    )
    return records


def nothing(task: bytes, *, given: bytes) -> tuple[bytes, str, None]:
    """A task that does nothing."""
    return b"", hashlib.sha256(b"").hexdigest(), None


def _do_nothing(cluster: Cluster, times: int) -> None:
    tasks = [(f"nothing-{times}-{number}", number) for number in range(times)]
    assert sum(news.content is not None for news in cluster.spread(nothing, None, tasks)) == times


def _seconds(
    cluster: Cluster | None, *, config: TrainingConfig, alloys: int, atoms: int, space: CompositionSpace
) -> dict[str, float]:
    """Return the seconds that each of the three kinds of work takes, here or on a cluster."""
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), {}
        start = time.perf_counter()
        _simulate(cluster, folder / "simulations", alloys=alloys, atoms=atoms)
        seconds["simulations"] = time.perf_counter() - start
        compositions, q, spectra = made_up_spectra(80, points=800, elements=len(space.elements))
        start = time.perf_counter()
        Ensemble(config, device="cpu").fit(compositions, spectra, train_fn=cluster and cluster.train)
        seconds["training"] = time.perf_counter() - start
        short = config.model_copy(update={"steps": FIT_STEPS})  # a map's time doesn't hang on what was learned
        ensemble = Ensemble(short, device="cpu").fit(compositions, spectra)
        checkpoint = ensemble.save(folder, axis=q, record={})
        peak_map = PeakMap(ensemble, space, q, compositions, {})
        start = time.perf_counter()
        if cluster is not None:
            cluster.make_shards(peak_map, folder, checkpoint=checkpoint)
        peak_map.write(folder)
        seconds["map"] = time.perf_counter() - start
    return seconds


def _simulate(cluster: Cluster | None, folder: Path, *, alloys: int, atoms: int) -> None:
    protocol, potential = replace(PRESETS["quick"], atoms=atoms, rdf_cutoff=12.0), load_potential("zhou", SYSTEM)
    compositions = np.random.default_rng(0).dirichlet(np.full(len(SYSTEM), 5.0), alloys)
    simulations = [Simulation.of(composition, SYSTEM, protocol, potential) for composition in compositions]
    timeout = generous_timeout(protocol)
    if cluster is None:
        runs = simulate_all(simulations, folder, lammps=find_lammps(), timeout=timeout, workers=available_cores())
    else:
        runs = cluster.simulate_all(simulations, folder, command=None, timeout=timeout)
    with closing(runs):
        for update in runs:
            if isinstance(update.outcome, MeasurementError):
                raise update.outcome

"""Simulations, members and shards on the workers of a Dask cluster: the same as here, and nothing lost with who dies.

Scheduler and workers are processes of their own, reached by their address alone.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import glassmap
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import CampaignError, ClusterError, MeasurementError, MissingExtra, SimulationError
from glassmap.agent.maps import peak_map as peak_map
from glassmap.agent.maps.peak_map import PeakMap
from glassmap.agent.models.config import ARCHITECTURES, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.flows.compute import dask_cluster as cluster_module
from glassmap.flows.compute.dask_cluster import Cluster
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from glassmap.simulation.lammps import Update
from glassmap.simulation.melt_quench import Simulation
from glassmap.simulation.result import read_structure
from glassmap.simulation.structure import Structure
from tests.support.campaigns import SIMULATED, fingerprint
from tests.support.glasses import ELEMENTS, TINY, ZHOU, alloy, counting_lammps
from tests.support.models import Told, peaks
from tests.support.processes import listening, processes_in, wait_until

pytest.importorskip("distributed", reason="needs Dask: pip install 'glassmap[dask]'")
from distributed import Client, Security

ROOT = Path(__file__).parents[3]


class Machines:
    """A scheduler and workers as commands, each in a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.folder, self.workers, self._settings = folder, [], settings
        self.scheduler = self._start("scheduler", "--host", self.address, "--no-dashboard", "--no-show")

    def _start(self, what: str, *arguments: str) -> subprocess.Popen:
        place = self.folder / "elsewhere"
        place.mkdir(exist_ok=True)
        program = [sys.executable, "-m", f"distributed.cli.dask_{what}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self._settings}
        with (self.folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen([*program, *arguments], cwd=place, env=environment, stdout=log, stderr=log)

    def start_worker(self) -> None:
        place = self.folder / f"worker-{len(self.workers)}"
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(place))
        self.workers.append(self._start("worker", self.address, *options))

    def simulating(self) -> list[int]:
        """Numbers of the workers on which something runs."""
        return [k for k in range(len(self.workers)) if processes_in(self.folder / f"worker-{k}")]

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    found = Machines(tmp_path_factory.mktemp("machines"))
    found.start_worker()
    found.start_worker()
    yield found
    found.stop()


@pytest.fixture
def two(machines: Machines) -> Iterator[Cluster]:
    """A connection to a cluster of two workers, also where an earlier test has ended one."""
    for _ in range(2 - sum(process.poll() is None for process in machines.workers)):
        machines.start_worker()
    with closing(Cluster(machines.address, device="cpu")) as cluster:
        cluster.client.wait_for_workers(2, timeout=30)
        yield cluster


def outcomes(updates: Iterator[Update]) -> list[Structure]:
    found: dict[int, Structure] = {}
    for update in updates:
        assert not isinstance(update.outcome, MeasurementError), update
        if update.outcome is not None:
            assert update.number not in found, "every simulation ends once"
            found[update.number] = update.outcome
    return [found[number] for number in sorted(found)]


def same(first: list[Structure], second: list[Structure]) -> bool:
    def values(one: Structure) -> list[str]:
        figures = asdict(one) | {"cpu_seconds": 0.0, "r": one.r.tobytes(), "partials": one.partials.tobytes()}
        return [repr(figure) for figure in figures.values()]

    return [values(one) for one in first] == [values(one) for one in second]


def write_campaign(folder: Path, machines: Machines | None, **backend: object) -> CampaignConfig:
    """A campaign of two rounds and eight simulations."""
    place = {} if machines is None else {"runner": "dask", "dask": {"scheduler": machines.address}}
    changes = place | {"backend": SIMULATED["backend"] | backend, "stop": {"max_rounds": 2, "patience": 9}}
    config = CampaignConfig.of(SIMULATED | changes, source="test")
    config.to_toml(folder / FILE_NAME)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    write_campaign(folder, None)
    with open_campaign(folder) as campaign:
        advance(campaign)
    return folder


@pytest.fixture(scope="module")
def here(finished: Path) -> list[Structure]:
    """What the eight simulations of that campaign found, without a cluster."""
    return [read_structure(path) for path in sorted((finished / "simulations").glob("*.npz"))]


# --- the same as here


@pytest.mark.parametrize(
    "settings",
    [{"steps": 40}, {"steps": 20, "stacked": False, "architecture": "noisy", "energy": 1.0, "batch_size": 16}],
)
def test_members_trained_elsewhere_are_the_same_to_the_bit(
    two: Cluster, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(
        ARCHITECTURES, "noisy", "tests.support.models:NOISY"
    )  # here alone: workers get it with the data
    config = TrainingConfig(members=5, **settings)
    x, _, y = peaks(30, points=101)
    told = Told()
    alone = Ensemble(config, seed=3, device="cpu").fit(x, y)
    spread = Ensemble(config, seed=3, device="cpu").fit(x, y, train_fn=two.train, report=told)
    one, other = (ensemble.stack.models["networks"].save().tensors for ensemble in (alone, spread))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    for one, other in zip(alone.predict(x), spread.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)
    steps = [done for _, done, _, _ in told]
    assert told[-1][:3] == ("train", 5 * config.steps, 5 * config.steps) and steps == sorted(steps)


def test_convolutions_trained_elsewhere_are_the_same_but_for_rounding(two: Cluster):
    x, _, y = peaks(12, points=101)
    config = TrainingConfig(architecture="paper", members=2, steps=1, batch_size=2, stacked=False, averaging=0.0)
    alone, spread = (Ensemble(config, device="cpu").fit(x, y, train_fn=train_fn) for train_fn in (None, two.train))
    np.testing.assert_allclose(spread.predict(x).mean, alone.predict(x).mean, atol=0.1)


def test_a_map_made_elsewhere_is_the_same_to_the_bit(two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peak_map, "SHARD", 512)
    rng = np.random.default_rng(0)
    x, q = rng.dirichlet(np.ones(4), 30), np.linspace(1, 5, 96)
    y = 5 + 90 * np.exp(-(((q - 2 - x[:, :1]) / (0.2 + 0.3 * x[:, 1:2])) ** 2))
    ensemble = Ensemble(TrainingConfig(members=2, steps=30), device="cpu").fit(x, y)
    checkpoint = ensemble.save(tmp_path, axis=q, record={})
    space = CompositionSpace(("Co", "V", "Zr", "Cu"), step_at_pct=4, limits=("Zr + Cu >= 20",))
    whole = PeakMap(ensemble, space, q, x, {"checkpoint": checkpoint.stem})
    assert len(whole.shards) > 3
    alone = whole.write(tmp_path / "alone")
    there = tmp_path / "there"
    kept = whole.write_shard(1, there).stat().st_mtime_ns
    told: list[int] = []

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        told.append(done)

    two.make_shards(whole, there, checkpoint=checkpoint, report=report)
    assert all(whole.shard_path(number, there).exists() for number in whole.shards)
    assert whole.shard_path(1, there).stat().st_mtime_ns == kept, "a shard that is there isn't made again"
    assert len(told) == len(whole.shards) - 1 and told[-1] == len(space)
    assert whole.write(there).name == alone.name, "files are called by the hash of their content"


# --- who dies


def test_simulations_come_back_as_they_do_here_though_a_worker_is_killed(
    two: Cluster, machines: Machines, here: list[Structure], tmp_path: Path
):
    tools, folder = tmp_path / "tools", tmp_path / "simulations"
    tools.mkdir()
    command, starts = counting_lammps(tools)
    simulations = [Simulation.of(one.composition, ELEMENTS, TINY, ZHOU) for one in here]
    found: list[Update] = []
    victim = None
    for update in two.simulate_all(simulations, folder, command=command, timeout=60.0):
        found.append(update)
        if sum(one.outcome is not None for one in found) == 3 and victim is None:
            wait_until(lambda: machines.simulating())
            victim = machines.simulating()[0]
            machines.workers[victim].kill()
            machines.workers[victim].wait()
            wait_until(lambda k=victim: k not in machines.simulating(), 5)
    assert same(outcomes(iter(found)), here)
    begun = starts.read_text().split()
    assert len(set(begun)) == 8 and len(begun) <= 8 + 2, f"only what was lost with the worker is begun again: {begun}"
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(f"{one.key}.npz" for one in simulations), "one file each, and nothing else"
    nowhere = Cluster("tcp://127.0.0.1:1")
    again = outcomes(nowhere.simulate_all(simulations, folder, command=None, timeout=60.0))
    assert same(again, here), "what is there is looked up, without a cluster"


def test_what_ends_one_worker_after_another_ends_in_an_error_in_words(tmp_path: Path):
    script = tmp_path / "lmp-deadly"
    # It kills the parent of its supervisor
    script.write_text('#!/bin/sh\nkill -9 "$(cut -d " " -f 4 "/proc/$PPID/stat")"\nsleep 5\n')
    script.chmod(0o755)
    machines = Machines(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    try:
        machines.start_worker()
        runs = Cluster(machines.address)
        with closing(runs), pytest.raises(ClusterError, match=r"ended 1 workers in a row, .* short of memory"):
            list(runs.simulate_all([alloy()], tmp_path / "found", command=str(script), timeout=60.0))
    finally:
        machines.stop()


@pytest.mark.usefixtures("two", "prefect_server")
def test_a_driver_that_is_killed_leaves_nothing_running_and_goes_on_to_the_same_end(
    machines: Machines, finished: Path, tmp_path: Path
):
    """The second time through Prefect, whose tasks run in other threads."""
    from glassmap.flows.services.prefect_flows import run_campaign

    folder, tools = tmp_path / "campaign", tmp_path / "tools"
    tools.mkdir()
    command, starts = counting_lammps(tools)
    write_campaign(folder, machines, command=command)
    program = (
        "import sys, pathlib, glassmap.flows.rounds.campaign as rounds, glassmap.flows.rounds.loop as loop\n"
        "with rounds.open_campaign(pathlib.Path(sys.argv[1])) as c: loop.advance(c)"
    )
    driver = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT)
    wait_until(lambda: starts.exists() and len(starts.read_text().split()) > 2 and machines.simulating(), 60)
    driver.kill()
    driver.wait()
    wait_until(lambda: not machines.simulating(), 5)
    assert sum(worker.poll() is None for worker in machines.workers) == 2, "the workers themselves go on"
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "simulations").glob("*.npz")}
    run_campaign(folder)
    assert fingerprint(folder) == fingerprint(finished)
    results = {path.name: path.stat().st_mtime_ns for path in (folder / "simulations").glob("*.npz")}
    assert len(results) == 8 and kept.items() <= results.items(), "no result was made again"


def test_closing_the_iterator_stops_what_runs(two: Cluster, machines: Machines, tmp_path: Path):
    long = [alloy((50, 40, 10), melt_ps=3000.0), alloy((40, 50, 10), melt_ps=3000.0)]
    with closing(two.simulate_all(long, tmp_path, command=None, timeout=600.0)) as runs:
        update = next(runs)
        assert 0 <= update.share < 1 and update.outcome is None, "how far it is can be seen"
        wait_until(lambda: len(machines.simulating()) == 2)
    wait_until(lambda: not machines.simulating(), 5)
    (short,) = outcomes(two.simulate_all([alloy()], tmp_path, command=None, timeout=60.0))
    assert isinstance(short, Structure), "and the workers are free again"


# --- what fails


def test_an_alloy_that_fails_on_a_worker_stops_no_other(two: Cluster, tmp_path: Path):
    tools = tmp_path / "tools"
    tools.mkdir()
    failing = (
        'case "$(head -1 in.lammps)" in *Zr5*) '
        "printf 'Loop\\n   Step\\nERROR: Lost atoms: original 200 current 9\\n' > log.lammps; exit 1;; esac"
    )
    command, _ = counting_lammps(tools, failing)
    simulations = [alloy((50, 40, 10)), alloy((20, 70, 10))]
    updates = list(two.simulate_all(simulations, tmp_path / "found", command=command, timeout=60.0))
    failed, well = (next(u.outcome for u in updates if u.number == k and u.outcome) for k in (0, 1))
    assert isinstance(failed, MeasurementError) and isinstance(well, Structure)
    assert "seed 0: LAMMPS ended" in str(failed) and "(on the worker tcp://127.0.0.1:" in str(failed)


def test_where_a_worker_has_no_lammps_nothing_is_held_against_the_alloys(two: Cluster, tmp_path: Path):
    with pytest.raises(SimulationError, match=r"The command 'no-such-lmp' must start .* \(On the worker tcp://"):
        list(two.simulate_all([alloy()], tmp_path, command="no-such-lmp", timeout=60.0))


@pytest.mark.parametrize("library", ["glassmap", "torch"])
def test_workers_of_other_versions_are_refused(two: Cluster, monkeypatch: pytest.MonkeyPatch, library: str):
    monkeypatch.setitem(cluster_module.VERSIONS, library, "0.1")
    x, _, y = peaks(12)
    words = (
        rf"must have the driver's versions, .*{library} 0\.1.*; that at tcp://.* has glassmap {glassmap.__version__},"
    )
    with pytest.raises(ClusterError, match=words):
        Ensemble(TrainingConfig(members=2, steps=2), device="cpu").fit(x, y, train_fn=two.train)


def test_a_scheduler_that_cannot_be_reached_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1 .*dask scheduler"):
        list(Cluster("tcp://127.0.0.1:1").simulate_all([alloy()], tmp_path, command=None, timeout=1.0))
    assert time.monotonic() - start < 20
    machines = Machines(tmp_path)
    try:
        monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 3.0)
        with pytest.raises(ClusterError, match=f"has no worker. Start some with `dask worker {machines.address}"):
            _ = Cluster(machines.address).client
    finally:
        machines.stop()


def test_an_encrypted_scheduler_without_certificates_is_refused():
    with pytest.raises(ClusterError, match=r"tls://127\.0\.0\.1:1 needs certificates"):
        _ = Cluster("tls://127.0.0.1:1").client


def test_where_dask_is_not_installed_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'glassmap\[dask\]'"):
        _ = Cluster().client


# --- settings


def test_where_work_is_done_may_change_during_a_campaign(tmp_path: Path):
    local = write_campaign(tmp_path, None)
    for place in ({"runner": "dask"}, {"runner": "dask", "dask": {"workers": 3}}, {"dask": {"scheduler": "tcp://a:1"}}):
        CampaignConfig.of(SIMULATED | place, source="test").check_continues(local.model_dump(mode="json"))
    assert local.runner == "local" and local.dask.scheduler is None


@pytest.mark.parametrize(
    ("dask", "words"),
    [
        ({"scheduler": "10.0.0.5"}, "dask.scheduler"),
        ({"scheduler": "tcp://10.0.0.5:8786", "workers": 2}, "dask.workers are those of a cluster of this machine"),
        ({"workers": 0}, "dask.workers"),
        ({"adress": "tcp://a:1"}, "unknown setting 'dask.adress'; allowed here: scheduler, workers"),
    ],
)
def test_an_impossible_cluster_is_refused(dask: dict, words: str):
    with pytest.raises(CampaignError, match=words):
        CampaignConfig.of(SIMULATED | {"runner": "dask", "dask": dask}, source="test")


def test_a_cluster_of_this_machine_is_started_and_ended(tmp_path: Path):
    before = listening(os.getpid())
    with closing(Cluster(workers=1)) as cluster:
        (found,) = outcomes(cluster.simulate_all([alloy()], tmp_path, command=None, timeout=60.0))
        address = cluster.client.scheduler_info()["address"]
        hosts = {host for host, _ in listening(os.getpid()) - before}
        assert hosts == {"127.0.0.1"}, "no other computer reaches it"
        assert address.startswith("tls://127.0.0.1:"), "and no other user of this one, without the certificate"
        with pytest.raises(OSError, match=r"certificate does not match|Timed out"):
            Client(address, timeout=1, security=Security.temporary(), set_as_default=False)
    assert isinstance(found, Structure)

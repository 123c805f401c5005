"""Where one machine is too small: simulations, members of an ensemble and shards of a map on a Dask cluster.

Workers are reached by address only and know neither store nor folder of a campaign: plain values and bytes go out, the
bytes of a file and their SHA-256 come back, and the driver writes them. What no driver waits for any more, because it
was stopped or killed, ends on the workers within seconds.
"""

import hashlib
import pickle
import queue
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glassmap import __version__
from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import ClusterError, GlassmapError, MeasurementError, SimulationError
from glassmap.agent.extras import require_extras
from glassmap.agent.maps.peak_map import PeakMap
from glassmap.agent.models import networks
from glassmap.agent.models.ensemble import TrainedEnsemble, resolve_device
from glassmap.agent.models.training import TrainingData, join_members, train_networks, weights_of
from glassmap.agent.progress import Report, ignore
from glassmap.simulation.lammps import TELL_SECONDS, Update, available_cores, find_lammps, find_result, simulate
from glassmap.simulation.melt_quench import Simulation
from glassmap.simulation.potential import Potential

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

CONNECT_SECONDS = 15.0  # to wait for the scheduler, and then for its first worker
TOPIC = "glassmap"  # under which workers tell how far they are
VERSIONS = {"glassmap": __version__, "numpy": version("numpy"), "torch": version("torch")}  # last bits depend on them


@contextmanager
def open_cluster(config: CampaignConfig) -> Iterator["Cluster | None"]:
    """The cluster of a campaign, let go when the block ends; None where everything runs in the driver."""
    if config.runner == "local":
        yield None
        return
    with closing(Cluster(config.dask.scheduler, workers=config.dask.workers, device=config.device)) as cluster:
        yield cluster


class News(NamedTuple):
    """What has become of one of many tasks so far: how far it is, or how it ended."""

    number: int  # of the task, as it was given
    share: float  # done, 0 to 1
    content: bytes | None = None  # what came back; None while it runs, or where it failed
    said: Any = None  # beside the content
    failure: MeasurementError | None = None  # of this task alone


class Cluster:
    """A Dask cluster, connected to when it is first needed.

    Args:
        scheduler: Its address, such as `tcp://10.0.0.5:8786`; by default a cluster of this machine is started.
        workers: Single-thread processes of a cluster of this machine; by default one a core.
        device: Of the workers, as of an ensemble.
    """

    def __init__(self, scheduler: str | None = None, *, workers: int | None = None, device: str = "auto") -> None:
        self._scheduler, self._workers, self._device = scheduler, workers, device
        self._client: Client | None = None
        self._local: LocalCluster | None = None

    @property
    def client(self) -> "Client":
        """The connection.

        Raises:
            MissingExtra: If Dask isn't installed.
            ClusterError: If no scheduler or worker answers.
        """
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> "Client":
        require_extras("dask", needed_for="runner = 'dask' (but not runner = 'local')")
        from dask.config import set as dask_setting
        from distributed import Client, LocalCluster
        from distributed.security import Security

        address: Any = self._scheduler
        if address is None:
            settings = {
                "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,  # docs/cluster.md
                "distributed.scheduler.http.routes": [],  # its HTTP server can't be left out, so it answers nothing
            }
            with dask_setting(settings):
                address = self._local = LocalCluster(
                    n_workers=self._workers or available_cores(),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    security=True,  # a certificate of this process's own: other users of the machine are refused
                    dashboard_address="127.0.0.1:0",  # any free port
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,  # none but the machine's
                )
        where = self._scheduler or "this machine"
        if where.startswith("tls://") and Security().get_connection_args("client")["ssl_context"] is None:
            raise ClusterError(
                f"{where} needs certificates, and Dask knows none. Set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
                "…__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY in the driver's environment (docs/cluster.md)."
            )
        try:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {where} within {CONNECT_SECONDS:g} s ({error}). Start it with `dask "
                "scheduler`, correct dask.scheduler in the campaign file, or set runner = 'local'."
            ) from error
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            client.close()
            raise ClusterError(
                f"The Dask scheduler at {where} has no worker. Start some with `dask worker {where} --nthreads 1`."
            ) from error
        return client

    def close(self) -> None:
        """Let go of the cluster; one of this machine ends."""
        for one in (self._client, self._local):
            if one is not None:
                one.close()
        self._client = self._local = None

    def simulate_all(
        self, simulations: Sequence[Simulation], folder: Path, *, command: str | None, timeout: float
    ) -> Generator[Update]:
        """What `glassmap.simulation.lammps.simulate_all` does, with a simulation on each thread of the workers.

        Args:
            simulations: In the order in which they are begun; of one potential.
            folder: Of result files; what is there is not simulated again.
            command: That starts LAMMPS on a worker; by default that of the worker's environment.
            timeout: Of one try of one run, s.

        Raises:
            SimulationError: If LAMMPS can't run on a worker, whatever the alloy.
            ClusterError: If the cluster fails.
        """
        missing = []
        for number, simulation in enumerate(simulations):
            if (found := find_result(simulation, folder)) is None:
                missing.append(number)
            else:
                yield Update(number, 1.0, found)
        if not missing:
            return
        shared = (asdict(simulations[missing[0]].potential), command, timeout)
        how = _digest(repr((command, timeout)).encode())
        tasks = [
            (f"simulation-{one.key}-{how}", (one.elements, one.counts, one.protocol))
            for one in (simulations[number] for number in missing)
        ]
        with closing(self.spread(_simulate, shared, tasks)) as all_news:
            for news in all_news:
                simulation, outcome = simulations[missing[news.number]], news.failure
                if news.content is not None:
                    write_whole(folder / f"{simulation.key}.npz", news.content)
                    outcome = find_result(simulation, folder)
                yield Update(missing[news.number], news.share, outcome)

    def train(self, data: TrainingData, report: Report = ignore) -> networks.Generator:
        """Train networks as `glassmap.agent.models.training.train_networks` does, a member a task.

        Args:
            data: Of all members.
            report: Is told, as members go on, the steps of all of them and the MSE of the last that ended.

        Raises:
            ClusterError: If the cluster fails.
        """
        shared = (data._replace(seeds=[], seen=data.seen[:0]), self._device)
        of_all = pickle.dumps(shared)
        tasks = [
            (f"member-{_digest(of_all, seen.tobytes())}-{seed}", (seed, seen))
            for seed, seen in zip(data.seeds, data.seen, strict=True)
        ]
        parts: dict[int, bytes] = {}
        shares, steps, error = [0.0] * len(tasks), data.config.steps, None
        with closing(self.spread(_train, shared, tasks)) as all_news:
            for news in all_news:
                shares[news.number] = news.share
                if news.content is not None:
                    parts[news.number], error = news.content, news.said
                if error is not None:
                    report("train", round(sum(shares) * steps), len(tasks) * steps, error)
        return join_members([parts[number] for number in range(len(tasks))], data)

    def make_shards(self, peak_map: PeakMap, folder: Path, *, checkpoint: Path, report: Report = ignore) -> None:
        """Make the shards of a map that are missing in `folder`, each a task; then `PeakMap.write` gathers them.

        Args:
            peak_map: The map to be made.
            folder: As of `PeakMap.write`.
            checkpoint: Of the map's ensemble.
            report: Told after every shard how many alloys are done.

        Raises:
            ClusterError: If the cluster fails.
        """
        places = {number: peak_map.shard_path(number, folder) for number in peak_map.shards}
        missing = [number for number, path in places.items() if not path.exists()]
        if not missing:
            return
        space = {field.name: getattr(peak_map.space, field.name) for field in fields(CompositionSpace) if field.init}
        files = {path.name: path.read_bytes() for path in (checkpoint, checkpoint.with_suffix(".safetensors"))}
        held = None if peak_map.ensemble.context is None else dict(peak_map.ensemble.context.held)
        shared = (files, self._device, space, peak_map.q, peak_map.measured, peak_map.metadata, held)
        name = peak_map.shard_folder(folder).name.removeprefix(".")
        ranks = [peak_map.ranks(number) for number in missing]
        tasks = [(f"{name}-{part.start}-{part.stop}", (part.start, part.stop)) for part in ranks]
        done = len(peak_map.space) - sum(map(len, ranks))
        with closing(self.spread(_make_shard, shared, tasks)) as all_news:
            for news in all_news:
                if news.content is not None:
                    write_whole(places[missing[news.number]], news.content)
                    done += len(ranks[news.number])
                    report("map", done, len(peak_map.space))

    def spread(self, work: Callable[..., Any], shared: Any, tasks: Sequence[tuple[str, Any]]) -> Generator[News]:
        """Have workers do tasks, and tell of each as it goes on and ends; closing the iterator stops all that run.

        Args:
            work: A function of this file that takes its argument and what is shared, both pickled, and returns bytes,
                their SHA-256, and something small to say.
            shared: What all tasks need; each worker gets it once.
            tasks: Key and argument of each. Equal keys are equal tasks, also of other drivers, and done once.

        Raises:
            ClusterError: If a task ends its workers again and again, the scheduler is lost, or bytes arrive changed.
            GlassmapError: What a task has raised, but for a `MeasurementError`, which is its own failure.
        """
        from dask.config import set as dask_setting

        client, arrived = self.client, queue.SimpleQueue[Any]()
        numbers: dict[str, list[int]] = {}
        for number, (key, _) in enumerate(tasks):
            numbers.setdefault(key, []).append(number)
        content = pickle.dumps((VERSIONS, pickle.dumps(shared)))  # which another version may not be able to read

        def told(event: tuple[float, tuple[str, float]]) -> None:
            arrived.put(event[1])

        client.subscribe_topic(TOPIC, told)
        with dask_setting({"distributed.admin.large-graph-warning-threshold": "1TB"}):  # a checkpoint is large
            given = client.submit(bytes, content, key=f"given-{_digest(content)}")  # lost with a worker, made again
            arguments = [pickle.dumps(tasks[first][1]) for first, *_ in numbers.values()]
            left: dict[str, Future] = dict(
                zip(numbers, client.map(work, arguments, key=list(numbers), given=given), strict=True)
            )
        try:
            for future in left.values():
                future.add_done_callback(arrived.put)
            while left:
                match arrived.get():
                    case [str() as key, float() as share]:
                        if key in left:
                            yield from (News(number, share) for number in numbers[key])
                    case future:
                        found = _result(future)
                        del left[str(future.key)]
                        yield from (News(number, 1.0, *found) for number in numbers[str(future.key)])
                        future.release()
        finally:
            client.unsubscribe_topic(TOPIC)
            client.cancel([*left.values(), given])


def _result(future: "Future") -> tuple[bytes | None, Any, MeasurementError | None]:
    """What a task that has ended came to: content, what it said, and its failure."""
    from distributed import KilledWorker

    try:
        content, digest, said = future.result()
    except MeasurementError as error:
        return None, None, error
    except GlassmapError:
        raise
    except KilledWorker as error:
        raise ClusterError(
            f"The task {error.task} ended {error.allowed_failures + 1} workers in a row, the last at "
            f"{error.last_worker.address}. Are they short of memory? Look at their logs, then run again."
        ) from error
    except CancelledError as error:
        raise ClusterError(
            f"The Dask scheduler let go of the task {future.key}: it has ended, or the connection was lost. Start it "
            "again, then run again; what has come back is kept."
        ) from error
    except Exception as error:
        raise ClusterError(
            f"The cluster could not do the task {future.key} ({type(error).__name__}: {error}). Scheduler and workers "
            "need the driver's glassmap and its dependencies."
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ClusterError(f"What came back of the task {future.key} isn't what the worker sent. Run again.")
    return content, said, None


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


# --- on a worker


def _simulate(task: bytes, *, given: bytes) -> tuple[bytes, str, None]:
    """Simulate one alloy in the worker's own folder; the result file."""
    from distributed import Reschedule, get_worker

    (potential, command, timeout), (elements, counts, protocol) = _opened(given), pickle.loads(task)
    simulation = Simulation(elements, counts, protocol, Potential(**potential))
    folder = Path(get_worker().local_directory) / "glassmap"
    report, stopped = _task_hooks()
    try:
        simulate(simulation, folder, lammps=find_lammps(command), timeout=timeout, report=report, stopped=stopped)
    except MeasurementError as error:
        raise MeasurementError(f"{error} (on the worker {get_worker().address})") from error
    except SimulationError as error:
        if stopped():  # and if it is wanted again by now, it is begun again
            raise Reschedule() from error
        raise SimulationError(f"{error} (On the worker {get_worker().address}.)") from error
    path = folder / f"{simulation.key}.npz"
    content = path.read_bytes()
    path.unlink()
    return content, hashlib.sha256(content).hexdigest(), None


def _train(task: bytes, *, given: bytes) -> tuple[bytes, str, str]:
    """Train one member; return the weights of its network, and its last MSE in words."""
    from distributed import Reschedule

    (of_all, device), (seed, seen) = _opened(given), pickle.loads(task)
    report_task, stopped = _task_hooks()
    error = ""

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        nonlocal error
        if stopped():
            raise Reschedule()
        error = text
        report_task(stage, done, total)

    data = of_all._replace(seeds=[seed], seen=seen[None])
    content = weights_of(train_networks(data, report, device=resolve_device(device)))
    return content, hashlib.sha256(content).hexdigest(), error


def _make_shard(task: bytes, *, given: bytes) -> tuple[bytes, str, None]:
    """Map the alloys of some ranks; a Parquet file."""
    content = _map_of(given).shard(range(*pickle.loads(task)))
    return content, hashlib.sha256(content).hexdigest(), None


@lru_cache(maxsize=1)  # a worker makes many shards of one map
def _map_of(given: bytes) -> PeakMap:
    files, device, space, q, measured, metadata, held = _opened(given)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        ensemble = TrainedEnsemble.load(next(Path(folder).glob("*.json")), device=device)
    ensemble = ensemble if held is None else ensemble.held_at(held)
    return PeakMap(ensemble, CompositionSpace(**space), q, measured, metadata)


def _opened(given: bytes) -> Any:
    """What the driver gave to all tasks; refused where the worker's programs are others."""
    from distributed import get_worker

    versions, shared = pickle.loads(given)
    if versions != VERSIONS:
        there, here = (", ".join(f"{name} {v}" for name, v in each.items()) for each in (versions, VERSIONS))
        raise ClusterError(
            f"A worker must have the driver's versions, {there}; that at {get_worker().address} has {here}. Install "
            "the same."
        )
    return pickle.loads(shared)


def _task_hooks() -> tuple[Report, Callable[[], bool]]:
    """Return how the task of this thread tells how far it is, and how it learns that nobody waits for it."""
    from distributed import Status, get_worker

    worker = get_worker()
    key, told = worker.get_current_task(), time.monotonic()

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        nonlocal told
        if time.monotonic() >= told + TELL_SECONDS:
            told = time.monotonic()
            worker.log_event(TOPIC, [key, done / total])

    def stopped() -> bool:
        state = worker.state.tasks.get(key)
        is_wanted = state is not None and state.state in ("executing", "long-running")
        return not is_wanted or worker.status not in (Status.running, Status.paused)

    return report, stopped

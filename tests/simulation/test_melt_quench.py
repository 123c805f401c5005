import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.errors import SimulationError
from glassmap.simulation.melt_quench import PRESETS, MeltQuench, Simulation, atom_counts, render_input
from tests.support.glasses import ELEMENTS, TINY, ZHOU, alloy


def test_the_paper_preset_is_as_published():
    paper = PRESETS["paper"]
    assert (paper.atoms, paper.hot, paper.cold, paper.quench_rate) == (40_000, 2000, 300, 1e14)
    assert (paper.melt_ps, paper.relax_ps, paper.rdf_bins, paper.rdf_cutoff) == (20, 20, 3000, 16.0)
    assert paper.stage_steps == (10_000, 8_500, 10_000, 1_000), "20 ps, 1700 K at 100 K/ps, 20 ps, 1000 steps of 2 fs"


def test_the_quick_preset_takes_ten_thousand_steps():
    quick = PRESETS["quick"]
    assert (quick.atoms, quick.melt_ps, quick.relax_ps, quick.time_step_fs) == (1000, 5, 5, 3)
    assert quick.steps == 10_001


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"atoms": 0}, "atoms must be 100 or more; .*got 0"),
        ({"time_step_fs": 50.0}, "time_step_fs must be .* at most 10 fs.*got 50"),
        ({"time_step_fs": 0.0}, "time_step_fs must be above 0"),
        ({"cold": 2500.0}, "cold must be .*below hot = 2000 K; got 2500"),
        ({"quench_rate": -1e14}, r"quench_rate must be positive, in K/s.*got -1e\+14"),
        ({"melt_ps": 0.0}, "melt_ps must be positive"),
        ({"relax_ps": 0.0}, "relax_ps must be positive"),
        ({"rdf_steps": 55}, "rdf_steps must be a multiple of 10"),
        ({"rdf_bins": 750}, "rdf_bins must be a multiple of 500; .*got 750"),
        ({"rdf_cutoff": 3.0}, "rdf_cutoff must be 10 Å or more"),
        ({"seed": -1}, "seed must be 0 or more; got -1"),
        ({"melt_ps": float("inf")}, "melt_ps must be a finite number; got inf"),
        ({"quench_rate": float("nan")}, "quench_rate must be a finite number; got nan"),
        ({"quench_rate": 1e6}, r"may take 1e\+09 steps at most, got 5.66667e\+11"),
    ],
)
def test_an_impossible_protocol_is_refused_with_rule_value_and_remedy(change: dict, words: str):
    with pytest.raises(SimulationError, match=words):
        replace(PRESETS["quick"], **change)


@given(
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=5).filter(lambda shares: sum(shares) > 0.1),
    atoms=st.integers(100, 5000),
)
def test_atoms_come_as_close_to_a_composition_as_whole_numbers_can(shares: list[float], atoms: int):
    composition = np.array(shares) / sum(shares)
    counts = atom_counts(composition, atoms)
    assert sum(counts) == atoms and min(counts) >= 0
    assert np.abs(np.array(counts) - composition * atoms).max() < 1


@given(st.integers(1, 98), st.data())
def test_a_thousand_atoms_hold_every_whole_at_pct_exactly(zr: int, data: st.DataObject):
    cu = data.draw(st.integers(1, 99 - zr))
    at_pct = (zr, cu, 100 - zr - cu)
    assert atom_counts(np.array(at_pct) / 100, 1000) == tuple(10 * share for share in at_pct)


def test_where_atoms_cannot_hold_the_composition_the_realised_one_is_told():
    simulation = alloy((33, 33, 34), atoms=250)
    assert sum(simulation.counts) == 250
    np.testing.assert_allclose(simulation.composition, np.array(simulation.counts) / 250)
    assert simulation.label == "Zr33.2Cu32.8Al34"


def test_a_box_narrower_than_the_cutoff_is_refused_with_the_atoms_it_takes():
    with pytest.raises(
        SimulationError, match=r"200 atoms of Zr50Cu40Al10 is only 15\.\d Å wide, hardly more.*Take (\d+) atoms"
    ) as no:
        alloy(rdf_cutoff=16.0)
    enough = int(re.search(r"Take (\d+) atoms", str(no.value))[1])  # type: ignore[index]
    assert enough < 340 and alloy(rdf_cutoff=16.0, atoms=enough).counts


def test_an_element_that_the_potential_lacks_is_refused():
    with pytest.raises(SimulationError, match=r"got none for Ni; it holds Zr, Cu, Al.*'zhou', which knows"):
        Simulation.of(np.array([0.5, 0.5]), ("Zr", "Ni"), TINY, ZHOU)


def test_elements_without_atoms_are_left_out_of_the_run():
    simulation = alloy((60, 0, 40))
    text = render_input(simulation, potential_file="p")
    assert "create_box      2 box" in text and "pair_coeff      * * p Zr Al" in text
    assert simulation.pairs == ((0, 0), (0, 1), (1, 1))


def test_the_input_is_plain_lammps_and_names_every_atom_count():
    text = render_input(alloy(), potential_file="../zhou.eam.alloy")
    assert re.findall(r"create_atoms +(\d) random (\d+)", text) == [("1", "100"), ("2", "80"), ("3", "20")]
    assert "compute         rdf all rdf 500 1 1 1 2 1 3 2 2 2 3 3 3 cutoff 12" in text
    steps = [int(n) for n in re.findall(r"^run +(\d+)", text, re.MULTILINE)]
    assert steps == [*TINY.stage_steps, 0]


def test_a_key_changes_with_everything_that_decides_the_result():
    keys = {
        alloy().key,
        alloy((49, 41, 10)).key,
        alloy(seed=1).key,
        alloy(relax_ps=0.9).key,
        alloy(time_step_fs=2.0).key,
        Simulation.of(np.array([0.5, 0.4, 0.1]), ELEMENTS, TINY, replace(ZHOU, text=ZHOU.text + "\n")).key,
    }
    assert len(keys) == 6
    assert alloy().key in keys


def test_alloys_of_one_seed_start_from_unlike_places():
    seeds = [
        re.findall(r"random \d+ (\d+)", render_input(alloy(c), potential_file="p"))
        for c in ((50, 40, 10), (40, 50, 10))
    ]
    assert not set(seeds[0]) & set(seeds[1])


def test_a_protocol_is_frozen():
    with pytest.raises(AttributeError):
        MeltQuench().atoms = 5  # type: ignore[misc]

"""The volume of an atom says where a glass has its first peak."""

import numpy as np
import pytest

from glassmap.agent.errors import CompositionError
from glassmap.agent.peaks.atomic_volume import VolumeLaw, atomic_volumes, halos, q1_by_volume

ELEMENTS = ("Zr", "Cu", "Al")


def random_alloys(n: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet((2, 2, 2), n)


def test_the_law_gives_q1_of_the_best_known_glass():
    # Zr50Cu40Al10, simulated and measured: 2.65 1/Å
    assert q1_by_volume(np.array([[0.5, 0.4, 0.1]]), ELEMENTS) == pytest.approx([2.65], abs=0.02)


def test_atoms_have_the_volumes_of_the_handbooks():
    assert atomic_volumes(("Zr", "Cu", "Al", "Co")) == pytest.approx([23.3, 11.8, 16.6, 11.0], abs=0.1)


def test_an_element_without_a_density_is_refused_by_name():
    with pytest.raises(CompositionError, match="density of Fr"):
        atomic_volumes(("Zr", "Fr"))


def test_a_system_s_factor_and_scatter_are_learned_from_its_halos_alone():
    alloys = random_alloys(200)
    noise = np.random.default_rng(1).normal(0, 0.01, 200)
    q1 = 1.03 * q1_by_volume(alloys, ELEMENTS) * np.exp(noise)
    is_crystal = np.arange(200) % 2 == 0
    q1[is_crystal] *= 0.9
    delta_q = np.where(is_crystal, 0.05, 0.5)
    law = VolumeLaw.learned_from(alloys, ELEMENTS, q1, delta_q)
    assert law is not None
    assert law.factor == pytest.approx(1.03, abs=0.003)
    assert law.scatter == pytest.approx(0.01, rel=0.2)
    assert law.q1(alloys[:1]) == pytest.approx(1.03 * q1_by_volume(alloys[:1], ELEMENTS), rel=0.003)


def test_of_few_halos_nothing_is_learned():
    alloys = random_alloys(19)
    q1 = q1_by_volume(alloys, ELEMENTS)
    assert VolumeLaw.learned_from(alloys, ELEMENTS, q1, np.full(19, 0.5)) is None


def test_an_alloy_with_much_of_no_metal_isn_t_judged_and_neither_is_one_without_a_peak():
    alloys = np.array([[0.8, 0.2], [0.97, 0.03], [0.97, 0.03]])
    told = halos(alloys, ("Fe", "B"), np.array([3.1, 3.1, np.nan]), np.array([0.6, 0.6, np.nan]))
    assert told.tolist() == [False, True, False]

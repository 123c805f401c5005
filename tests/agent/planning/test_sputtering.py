"""Sputtered wafers: against what can be reckoned by hand, and fitted to wafers that the model itself made."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.errors import CompositionError
from glassmap.agent.peaks.atomic_volume import atomic_volumes
from glassmap.agent.planning.sputtering import Chamber, Deposition, Gun, calibrate, points_of

ELEMENTS = ("Co", "V", "Zr")
X, Y = points_of(100.0, 5.0, 10.0)
CENTRE = np.zeros(1)


def gun(k: int, n: int = 3, **changes: float) -> Gun:
    """Gun `k` of `n` evenly around the wafer, of the element `k` alone."""
    given = {"azimuth": 360.0 / n * k, "tilt": 30.0, "distance": 150.0, "rate": 5.0, "power": 100.0} | changes
    return Gun(ELEMENTS[k], np.eye(3)[k], powers=(20.0, 200.0), **given)


THREE = Chamber(ELEMENTS, tuple(gun(k) for k in range(3)))


def test_one_gun_makes_a_pure_wafer_and_of_an_alloy_target_its_alloy():
    alloy = replace(gun(0), composition=np.array([0.5, 0.2, 0.3]))
    for one in (gun(0), alloy):
        found = Chamber(ELEMENTS, (one,)).compositions(np.array([[80.0]]), X, Y)[0]
        np.testing.assert_allclose(found, np.broadcast_to(one.composition, found.shape), atol=1e-12)


@pytest.mark.parametrize("exponent", [1.0, 2.5])
def test_a_gun_straight_above_falls_off_as_reckoned_by_hand(exponent: float):
    above = Chamber(ELEMENTS, (gun(0, tilt=0.0, distance=100.0, exponent=exponent),))
    x = np.linspace(-45, 45, 7)
    rates = above.rates(np.array([[100.0]]), x, np.zeros(7))[0, 0]
    np.testing.assert_allclose(rates, 5.0 * (1 + (x / 100) ** 2) ** (-(exponent + 3) / 2))  # cos^n cos / r^2


def test_guns_that_stand_opposite_mirror_each_other():
    two = Chamber(ELEMENTS, (gun(0, 2), gun(1, 2)))
    left, right = (two.rates(np.array([[100.0, 100.0]]), sign * X, Y)[0] for sign in (-1, 1))
    np.testing.assert_allclose(left[0], right[1])
    assert right[0][X > 5].mean() > right[1][X > 5].mean(), "each gives most below itself"


def test_a_gun_that_stands_far_away_covers_the_wafer_evenly():
    far = Chamber(ELEMENTS, (gun(0, distance=1e5), gun(1, distance=1e5)))
    found = far.compositions(np.array([[100.0, 60.0]]), X, Y)[0]
    assert np.ptp(found, axis=0).max() < 1e-3


def test_rates_are_thicknesses_so_that_volumes_of_atoms_make_them_atoms():
    powers = np.array([[100.0, 50.0, 200.0]])
    assert THREE.rates(powers, CENTRE, CENTRE)[0, :, 0] == pytest.approx([5.0, 2.5, 10.0])
    atoms = np.array([5.0, 2.5, 10.0]) / atomic_volumes(ELEMENTS)
    np.testing.assert_allclose(THREE.compositions(powers, CENTRE, CENTRE)[0, 0], atoms / atoms.sum())
    assert THREE.minutes(powers, 350.0) == pytest.approx([20.0])
    assert THREE.thickness(powers, CENTRE, CENTRE, 20.0)[0] == pytest.approx([350.0])


def test_points_lie_on_a_grid_about_the_centre_and_off_the_rim():
    x, y = points_of(100.0, 5.0, 3.0)
    assert len(x) == 709 and np.hypot(x, y).max() <= 45 and (0.0, 0.0) in set(zip(x, y, strict=True))
    assert x.sum() == pytest.approx(0) and np.unique(np.diff(np.unique(x))) == pytest.approx(3)


@given(st.lists(st.floats(20, 200), min_size=3, max_size=3), st.floats(0.2, 5))
@settings(max_examples=30, deadline=None)
def test_only_ratios_of_powers_count_and_more_of_one_gun_is_more_of_its_element(powers: list[float], factor: float):
    given = np.array([powers])
    found, scaled = (THREE.compositions(by * given, X, Y)[0] for by in (1.0, factor))
    np.testing.assert_allclose(found, scaled)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (THREE.compositions(given * [[1.5, 1, 1]], X, Y)[0, :, 0] > found[:, 0]).all()


POWERS = ([50.0, 100.0, 150.0], [150.0, 60.0, 80.0], [100.0, 100.0, 40.0])


def made(chamber: Chamber, powers: list[float], rng: np.random.Generator) -> Deposition:
    """A wafer as EDX sees it, 1 at.% off."""
    found = chamber.compositions(np.array([powers]), X, Y)[0] + rng.normal(0, 0.01, (len(X), 3))
    found = np.clip(found, 1e-4, None)
    return Deposition(powers, X, Y, found / found.sum(axis=1, keepdims=True))


def test_a_chamber_is_found_again_from_wafers_that_it_made():
    """Within the powers used, compositions are right to less than 1 at.%, and errors as large as said."""
    off = list[float]()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rates, exponents = rng.uniform(3, 8, 3), rng.uniform(1, 2, 3)
        true = Chamber(ELEMENTS, tuple(gun(k, rate=rates[k], exponent=exponents[k]) for k in range(3)))
        found = calibrate(THREE, [made(true, powers, rng) for powers in POWERS])
        assert found.rms_at_pct == pytest.approx(0.82, abs=0.1), "what EDX errs by, closed to 100"
        within = rng.uniform(60, 100, (10, 3))
        missed = 100 * np.abs(true.compositions(within, X, Y) - found.chamber.compositions(within, X, Y))
        assert missed.max() < 1.0
        logarithms = [np.log(one.rate / two.rate) for one, two in zip(found.chamber.guns, true.guns, strict=True)]
        errors = np.array([one["exponent"] for one in found.errors])
        off += (np.log([g.exponent for g in found.chamber.guns] / exponents) / errors).tolist()
        assert np.ptp(logarithms) < 0.05, "rates are right against each other"
        assert not found.is_absolute and "No thickness" in found.notes[0]
    assert np.abs(off).max() < 3, "standard deviations"


def test_powers_that_were_never_used_are_warned_of():
    found = calibrate(THREE, [made(THREE, powers, np.random.default_rng(0)) for powers in POWERS[:2]])
    assert found.powers_used[0] == (50.0, 150.0) and found.warn([100.0, 80.0, 100.0]) == ()
    assert found.warn([200.0, 80.0, 100.0]) == ("Co is asked for 200 W and was calibrated between 50 and 150 W only.",)


def test_a_wafer_without_points_or_powers_is_refused():
    wafer = made(THREE, POWERS[0], np.random.default_rng(0))
    with pytest.raises(CompositionError, match="by wafers that were made, got none"):
        calibrate(THREE, [])
    with pytest.raises(CompositionError, match="needs a power of each of 3 guns"):
        calibrate(THREE, [wafer._replace(powers=[50.0])])
    with pytest.raises(CompositionError, match=r"Give its table columns `x \(mm\)`"):
        calibrate(THREE, [wafer._replace(x=np.full(len(X), np.nan))])
    with pytest.raises(CompositionError, match="0 W alone"):
        THREE.compositions(np.zeros((1, 3)), X, Y)

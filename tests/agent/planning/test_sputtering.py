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


def drawn(rng: np.random.Generator) -> Chamber:
    """A chamber that is about as `THREE` says, as far as chambers are known (`Known`)."""
    guns = [
        gun(
            k,
            azimuth=one.azimuth + rng.normal(0, 5),
            tilt=one.tilt + rng.normal(0, 5),
            distance=one.distance * np.exp(rng.normal(0, 0.1)),
            rate=one.rate * np.exp(rng.normal(0, 0.5)),
            exponent=np.exp(rng.normal(0, 0.5)),
            power_exponent=rng.normal(1, 0.1),
            aim=rng.normal(0, 10),
        )
        for k, one in enumerate(THREE.guns)
    ]
    return Chamber(ELEMENTS, tuple(guns))


def test_a_chamber_is_found_again_from_wafers_that_it_made():
    """Within the powers used, compositions are right to less than 1 at.%, and errors as large as said."""
    off = list[float]()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        true = drawn(rng)
        found = calibrate(THREE, [made(true, powers, rng) for powers in POWERS])
        assert found.rms_at_pct == pytest.approx(0.82, abs=0.12), "what EDX errs by, closed to 100"
        within = rng.uniform(60, 100, (10, 3))
        missed = 100 * (true.compositions(within, X, Y) - found.chamber.compositions(within, X, Y))
        assert np.sqrt((missed**2).mean(axis=2)).max() < 1.0
        for left, right in ((0, 1), (1, 2)):
            of = [np.log(one.guns[left].rate / one.guns[right].rate) for one in (found.chamber, true)]
            assert abs(of[0] - of[1]) < 0.1, "rates are right against each other"
        for one, two, errors in zip(found.chamber.guns, true.guns, found.errors, strict=True):
            off += [(getattr(one, name) - getattr(two, name)) / errors[name] for name in ("power_exponent", "azimuth")]
            off += [float(np.log(one.exponent / two.exponent)) / errors["exponent"]]
        expected = found.expected_error(within, X, Y) ** 2 - found.rms_at_pct**2
        assert (missed**2).mean() < 3**2 * expected.mean(), "not surer of compositions than right"
        assert not found.is_absolute and "No thickness" in found.notes[0]
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.4 and np.abs(off).max() < 4, "standard deviations"


def test_a_wafer_that_lay_turned_is_told_from_the_chamber():
    rng, turned = np.random.default_rng(1), np.radians(20)
    wafers = [made(THREE, powers, rng) for powers in POWERS]
    cos, sin = np.cos(turned), np.sin(turned)
    x, y = X * cos - Y * sin, X * sin + Y * cos
    found = calibrate(THREE, [wafers[0]._replace(x=x, y=y), *wafers[1:]])
    assert found.turns[0] - sum(found.turns[1:]) / 2 == pytest.approx(20, abs=1)
    assert found.rms_at_pct < 0.95


def test_a_measured_thickness_makes_rates_absolute():
    fast = Chamber(ELEMENTS, tuple(replace(one, rate=2 * one.rate) for one in THREE.guns))
    wafers = [made(fast, powers, np.random.default_rng(0)) for powers in POWERS[:2]]
    thickness = float(fast.thickness(np.array([POWERS[0]]), CENTRE, CENTRE, 30.0)[0, 0])
    found = calibrate(THREE, [wafers[0]._replace(thickness=thickness, minutes=30.0), *wafers[1:]])
    assert found.is_absolute and [one.rate for one in found.chamber.guns] == pytest.approx([10.0] * 3, rel=0.1)


def test_a_wafer_is_expected_to_err_more_at_powers_that_were_never_used():
    found = calibrate(THREE, [made(THREE, powers, np.random.default_rng(0)) for powers in POWERS])
    used, allowed = ([(low, high)] * 3 for low, high in ((50.0, 150.0), (5.0, 1000.0)))
    within, beyond = (found.expected_at_most(powers, X, Y) for powers in (used, allowed))
    assert found.rms_at_pct < within < 1.0 and beyond > 1.3 * within


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

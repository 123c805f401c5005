"""First peaks are held against the volume of their atoms: what is wrong with a set is said, with the amount."""

from dataclasses import replace

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.spectrum import q_from_two_theta, two_theta_from_q
from glassmap.agent.peaks.atomic_volume import q1_by_volume
from glassmap.agent.peaks.first_look import look_at_scans
from glassmap.agent.peaks.volume_check import ANODES, VolumeCheck, check_volumes
from glassmap.flows.cli.demo import BUNDLED

ELEMENTS = ("Co", "V", "Zr")
CU = ANODES["Cu"]
rng = np.random.default_rng(0)
ALLOYS = rng.dirichlet((2, 2, 2), 200)
Q1 = 0.99 * q1_by_volume(ALLOYS, ELEMENTS) * np.exp(rng.normal(0, 0.01, 200))
WAFERS = np.array(["A", "B", "C", "D"])[np.arange(200) % 4]
IDS = [f"s{k}" for k in range(200)]


def check(alloys: np.ndarray = ALLOYS, q1: np.ndarray = Q1, *, wavelength: float | None = CU) -> VolumeCheck:
    found = check_volumes(alloys, ELEMENTS, q1, 0.2 * q1, ids=IDS, groups=WAFERS, wavelength=wavelength)
    assert found is not None
    return found


def test_good_samples_are_called_right_with_their_scatter():
    found = check()
    assert found.is_right and "the 200 wide peaks follows the volume of their atoms within 1.1%" in str(found)


@pytest.mark.parametrize("true", ["Co", "Cr", "Mo"])
def test_a_wrong_wavelength_is_named(true: str):
    found = check(q1=Q1 * ANODES[true] / CU)
    assert found.off.is_sure and f"As if the wavelength were {true} Kα" in str(found)


def test_scans_brought_to_q_by_another_anode_s_wavelength_are_told_by_the_ratio_of_the_two():
    assert "scans of Co Kα had been brought to q by the wavelength of Cu Kα" in str(
        check(q1=Q1 * ANODES["Co"] / CU, wavelength=None)
    )


def test_swapped_columns_are_put_right():
    found = check(ALLOYS[:, [2, 1, 0]])
    assert found.orders == (("Zr", "V", "Co"),) and "hold Zr, V, Co" in str(found)


def test_the_shifted_zero_of_one_wafer_is_found_with_its_amount():
    shifted = q_from_two_theta(two_theta_from_q(Q1, wavelength=CU) + 3, wavelength=CU)
    found = check(q1=np.where(WAFERS == "C", shifted, Q1))
    assert [one.of for one in found.apart] == ["C"]
    said = float(str(found).partition("shifted by ")[2].split(" ±")[0])
    assert said == pytest.approx(3, abs=0.4), str(found)


def test_a_sample_that_is_another_alloy_is_named_and_another_peak_taken_for_the_first_is_not():
    wrong = Q1.copy()
    wrong[[7, 8]] *= 1.2, 1.6
    assert [one.of for one in check(q1=wrong).single] == ["s7"]


def test_crystals_and_few_halos_are_not_judged():
    assert check_volumes(ALLOYS, ELEMENTS, Q1, np.full(200, 0.05)) is None


def test_the_first_look_holds_scans_against_it():
    good = read_dataset(BUNDLED)
    good = good.select(np.arange(len(good)) % 10 == 0)
    assert (said := look_at_scans(good).volumes) is not None and said.is_right, str(said)
    wrong = replace(good, axis=good.axis * ANODES["Co"] / CU)
    said = look_at_scans(wrong).volumes
    assert said is not None and "Co Kα" in str(said)


def test_scans_whose_peaks_are_strange_are_told_by_which_anode_s_wavelength_they_are_not():
    good = read_dataset(BUNDLED)
    good, inside = good.select(np.arange(len(good)) % 10 == 0), good.axis < 7
    angles = two_theta_from_q(good.axis[inside], wavelength=CU)
    some = replace(good, axis_name="two_theta", axis=angles, intensities=good.intensities[:, inside], wavelength=0.7093)
    look = look_at_scans(some)
    assert look.volumes is None and "With the wavelength of Cu Kα (1.54059 Å)" in str(look)

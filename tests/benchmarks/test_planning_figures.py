import pytest

from tests.benchmarks.plan_wafers import plan_once
from tests.benchmarks.planning import run


def test_a_first_ternary_batch_is_as_even_as_the_published_figure_says():
    (record,) = run(elements_counts=(3,), methods=("uniform",), seeds=(0,))
    assert " ".join(record) == "elements method batch seconds peak_mib separation worst mean"
    assert (record["elements"], record["method"], record["batch"]) == (3, "uniform", 20)
    assert record["mean"] <= 8.1  # at.%
    assert record["separation"] > 10
    assert 10 < record["peak_mib"] < 1024


def test_the_next_wafers_of_a_quaternary_cover_it_better_than_random_powers_do():
    record = plan_once(4, 2, 0, 0, draws=1)
    assert " ".join(record) == "elements wafers lying seconds peak_mib mean worst random unreached"
    assert record["mean"] < 0.9 * record["random"] and record["worst"] > 40
    assert record["unreached"] == pytest.approx(0.22, abs=0.03), "the corners"

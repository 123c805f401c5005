from tests.benchmarks.planning import run


def test_a_first_ternary_batch_is_as_even_as_the_published_figure_says():
    (record,) = run(elements_counts=(3,), methods=("uniform",), seeds=(0,))
    assert " ".join(record) == "elements method batch seconds peak_mib separation worst mean"
    assert (record["elements"], record["method"], record["batch"]) == (3, "uniform", 20)
    assert record["mean"] <= 8.1  # at.%
    assert record["separation"] > 10
    assert 10 < record["peak_mib"] < 1024

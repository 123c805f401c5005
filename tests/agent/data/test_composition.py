import itertools
import pickle

import hypothesis
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glassmap.agent.data.composition import (
    ROUNDING_AT_PCT,
    SAME_ALLOY,
    CompositionSpace,
    average_replicates,
    close_compositions,
    distinct_alloys,
    label,
    parse_composition,
)
from glassmap.agent.errors import CompositionError
from glassmap.agent.planning.acquisition import plan_batch

ELEMENTS = ("Co", "V", "Zr", "Al", "Cu")
TWENTY = (*ELEMENTS, "Ni", "Fe", "Ti", "Mg", "Si", "Au", "Ag", "Pt", "Pd", "Ca", "B", "C", "N", "O", "P")

# The limits that spaces may draw, each with its meaning on shares in at.%; they bind the first two elements.
LIMITS = {
    "Co + V >= 40": lambda s: s["Co"] + s["V"] >= 40,
    "2 Co - V <= 30": lambda s: 2 * s["Co"] - s["V"] <= 30,
    "Co >= V": lambda s: s["Co"] >= s["V"],
    "1.5*V - 0.25 Co + 5 <= 62.5": lambda s: 1.5 * s["V"] - 0.25 * s["Co"] + 5 <= 62.5,
}

brief = hypothesis.settings(deadline=None, max_examples=50)


@st.composite
def settings_of_spaces(draw):
    elements = ELEMENTS[: draw(st.integers(2, 4))]
    edges = draw(st.booleans())
    bounds = st.tuples(st.integers(0, 40), st.integers(30, 100)).filter(lambda b: b[0] <= b[1])
    return {
        "elements": elements,
        "step_at_pct": draw(st.sampled_from([10, 20, 25])),
        "bounds_at_pct": draw(st.dictionaries(st.sampled_from(elements), bounds, max_size=2)),
        "edges": edges,
        "max_elements": draw(st.none() | st.integers(1, 4)) if edges else None,
        "limits": tuple(draw(st.lists(st.sampled_from(sorted(LIMITS)), max_size=2, unique=True))),
    }


def every_allowed_alloy(
    elements, step_at_pct, bounds_at_pct, edges, max_elements, limits
):  # by trying all, in lexicographic order
    shares = range(0, 101, step_at_pct)
    for alloy in itertools.product(shares, repeat=len(elements)):
        named = dict(zip(elements, alloy, strict=True))
        if (
            sum(alloy) == 100
            and (edges or min(alloy) > 0)
            and all(low <= named[e] <= high for e, (low, high) in bounds_at_pct.items())
            and sum(share > 0 for share in alloy) <= (max_elements or len(elements))
            and all(LIMITS[limit](named) for limit in limits)
        ):
            yield alloy


def space_or_skip(settings):
    try:
        return CompositionSpace(**settings)
    except CompositionError:
        assume(False)


@pytest.mark.parametrize(
    ("n", "step", "count"), [(3, 1, 4851), (3, 2, 1176), (4, 1, 156_849), (5, 1, 3_764_376)], ids=str
)
def test_interior_grids_have_the_published_number_of_alloys(n, step, count):
    assert len(CompositionSpace(ELEMENTS[:n], step_at_pct=step)) == count


@brief
@given(settings=settings_of_spaces())
def test_a_space_holds_exactly_the_alloys_that_trying_all_finds_in_order(settings):
    expected = np.array(list(every_allowed_alloy(**settings)))
    if not len(expected):
        with pytest.raises(CompositionError):
            CompositionSpace(**settings)
        return
    space = CompositionSpace(**settings)
    parts = np.concatenate([space.parts(block) for block in np.split(np.arange(len(space)), range(7, len(space), 7))])
    np.testing.assert_array_equal(parts * space.step_at_pct, expected)


@brief
@given(settings=settings_of_spaces())
def test_rank_undoes_parts(settings):
    space = space_or_skip(settings)
    ranks = np.arange(len(space))
    np.testing.assert_array_equal(space.rank(space.parts(ranks)), ranks)


def test_rank_undoes_parts_among_millions():
    space = CompositionSpace(ELEMENTS, limits=("Zr + Cu >= 40",))
    ranks = space.sample(2000, np.random.default_rng(0))
    np.testing.assert_array_equal(space.rank(space.parts(ranks)), ranks)


@brief
@given(settings=settings_of_spaces(), data=st.data())
def test_contains_is_true_for_the_allowed_alloys_and_no_others(settings, data):
    space = space_or_skip(settings)
    total = 100 // space.step_at_pct
    point = st.lists(st.integers(-1, total + 1), min_size=len(space.elements), max_size=len(space.elements))
    points = np.array(data.draw(st.lists(point, min_size=1, max_size=20)))
    allowed = {tuple(row) for row in space.parts(np.arange(len(space))).tolist()}
    assert space.contains(points).tolist() == [tuple(row) in allowed for row in points.tolist()]


@brief
@given(settings=settings_of_spaces(), seed=st.integers(0, 99))
def test_snap_finds_the_nearest_allowed_alloy(settings, seed):
    space = space_or_skip(settings)
    targets = np.random.default_rng(seed).dirichlet(np.ones(len(space.elements)), size=3)
    grid = space.compositions(np.arange(len(space)))
    distances = np.linalg.norm(grid - targets[:, None], axis=2)  # (targets, alloys)
    found = distances[np.arange(3), space.snap(targets)]
    np.testing.assert_allclose(found, distances.min(axis=1))


def test_compositions_sum_to_one_and_labels_are_in_at_pct():
    space = CompositionSpace(("Co", "V", "Zr"), step_at_pct=10, edges=True)
    ranks = space.rank(np.array([[2, 3, 5], [10, 0, 0]]))
    np.testing.assert_allclose(space.compositions(ranks), [[0.2, 0.3, 0.5], [1, 0, 0]])
    assert space.labels(ranks) == ["Co20V30Zr50", "Co100"]


def test_a_sample_is_uniform():
    space = CompositionSpace(("Co", "V", "Zr"), step_at_pct=10)
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([space.sample(10, rng) for _ in range(2000)]), minlength=len(space))
    expected = 20_000 / len(space)
    assert ((counts - expected) ** 2 / expected).sum() < 70  # chi², 35 degrees of freedom, p = 0.0004


def test_spaces_are_values():
    one, other = (
        CompositionSpace(("Co", "V", "Zr"), bounds_at_pct=bounds, limits=("Co >= V",))
        for bounds in ({"Zr": (10, 50), "V": (5, 90)}, {"V": (5.0, 90.0), "Zr": (10.0, 50.0)})
    )
    assert one == other == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(other)
    assert one != CompositionSpace(("Co", "V", "Zr"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ("Co",)}, "two or more"),
        ({"elements": ("Co", "V", "Co")}, "different symbols"),
        ({"elements": ("Co", "Vv")}, "'Vv' is no chemical symbol"),
        ({"elements": ("Co", "n")}, "'n' is no chemical symbol"),
        ({"step_at_pct": 3}, "must divide 100, got 3"),
        ({"step_at_pct": 50}, "No alloy sums to 100 at.%: Co 50 to 100, V 50 to 100, Zr 50 to 100 allow 150 to 300"),
        ({"bounds_at_pct": {"Fe": (0, 1)}}, "'Fe', which is not among"),
        ({"bounds_at_pct": {"Zr": (50, 20)}}, "Bounds of Zr"),
        ({"bounds_at_pct": {"Zr": (0, 0)}}, "Zr is impossible: .* 0 aside as edges = false"),
        ({"bounds_at_pct": {"Zr": (11, 14)}, "step_at_pct": 5}, "Zr is impossible: no multiple of 5 at.%"),
        (
            {"bounds_at_pct": {"Zr": (60, 100), "V": (50, 100)}},
            "Co 1 to 100, V 50 to 100, Zr 60 to 100 allow 111 to 300 at.%",
        ),
        ({"bounds_at_pct": {"Zr": (0, 20), "V": (0, 20), "Co": (0, 20)}}, "allow 3 to 60 at.%; widen the bounds"),
        ({"max_elements": 2}, "needs edges = true"),
        ({"max_elements": 0, "edges": True}, "1 or more"),
        ({"limits": ("Zr + Cu >= 40",)}, "names Cu, which is not among"),
        ({"limits": ("Zr > 40",)}, "Can't read the limit 'Zr > 40'; write it as in"),
        ({"limits": ("Zr V >= 40",)}, "Can't read"),
        ({"limits": ("10 <= Zr <= 40",)}, "Can't read"),
        ({"limits": ("0.3333333333333333333 Zr <= 9",)}, "Can't read"),
        ({"limits": ("Zr >= Zr",)}, "binds no element"),
        ({"limits": ("Zr >= 20", "Zr + V <= 1")}, "meets the limit 'Zr \\+ V <= 1'"),
        ({"limits": ("Zr >= 60", "V >= 50")}, "together"),
        ({"elements": TWENTY}, "more than 4e18"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_impossible_space_is_refused_with_its_reason(settings, message):
    with pytest.raises(CompositionError, match=message):
        CompositionSpace(**{"elements": ("Co", "V", "Zr")} | settings)


def test_alloys_and_ranks_outside_the_space_are_refused_by_name():
    space = CompositionSpace(("Co", "V", "Zr"), step_at_pct=10)
    with pytest.raises(CompositionError, match=r"Row 1 \(Co0 V50 Zr50\) lies outside"):
        space.rank(np.array([[1, 1, 8], [0, 5, 5]]))
    with pytest.raises(CompositionError, match="Ranks run from 0 to 35, got 36 to 36"):
        space.parts(np.array([36]))


@given(shares=st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any))
def test_parsing_a_label_gives_the_composition_back(shares):
    composition = np.array(shares) / sum(shares)
    elements = ("Co", "V", "Zr")
    np.testing.assert_allclose(parse_composition(label(composition, elements), elements), composition, atol=2e-3)


def test_labels_of_measured_compositions_have_one_decimal():
    assert label(np.array([0.302, 0.399, 0.299]), ("Co", "V", "Zr")) == "Co30.2V39.9Zr29.9"
    assert label(np.array([0.3, 0, 0.7]), ("Co", "V", "Zr")) == "Co30Zr70"


def test_parsing_fills_in_absent_elements_and_closes_the_sum():
    np.testing.assert_allclose(parse_composition("Zr30 Co69.8", ("Co", "V", "Zr")), np.array([69.8, 0, 30]) / 99.8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Co30V40", "sum to 100 ± 0.5 at.%, got 70"),
        ("Co0.3V0.4Zr0.3", "looks like atomic fractions; write at.%"),
        ("Co30V40Cu30", "names Cu which is not among"),
        ("Co30V40Co30", "names Co more than once"),
        ("Co130V-30", "V is negative"),
        ("CoV2Zr", "Can't read the composition"),
        ("30% Co", "Can't read the composition"),
        ("", "Can't read the composition"),
    ],
)
def test_a_wrong_composition_is_refused_with_a_remedy(text, message):
    with pytest.raises(CompositionError, match=message):
        parse_composition(text, ("Co", "V", "Zr"))


@given(
    table=st.lists(st.lists(st.floats(1, 100), min_size=3, max_size=3), min_size=1, max_size=5),
    off=st.floats(-0.004, 0.004) | st.floats(0.006, 0.49) | st.floats(-0.49, -0.006),
)
def test_closed_rows_sum_to_one_in_the_same_proportions(table, off):
    given_at_pct = np.array(table)
    given_at_pct *= (100 + off) / given_at_pct.sum(axis=1, keepdims=True)
    names = [f"sample {row}" for row in range(len(table))]
    closed, notes = close_compositions(given_at_pct, elements=("Co", "V", "Zr"), names=names)
    np.testing.assert_allclose(closed.sum(axis=1), 1)
    np.testing.assert_allclose(closed * (100 + off), given_at_pct)
    assert len(notes) == (abs(off) > ROUNDING_AT_PCT)


def test_the_note_says_which_rows_were_closed():
    table = np.array([[50, 50], [50, 50.2], [49.8, 50]])
    _, (note,) = close_compositions(table, elements=("Co", "V"), names=["a", "b", "c"])
    assert note == "2 of 3 compositions summed to 99.80-100.20 at.% and were closed to 100: b, c."


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([50, np.nan], "b: the share of V is no number"),
        ([101, -1], "b: the share of V is negative"),
        ([50, 40], "b: shares must sum to 100 ± 0.5 at.%, got 90; look for a missing element, or for wt.%"),
        ([0.5, 0.5], "b: .* atomic fractions; write at.%, that is, multiply by 100"),
    ],
)
def test_a_wrong_table_is_refused_by_row_and_remedy(row, message):
    with pytest.raises(CompositionError, match=message):
        close_compositions(np.array([[50.0, 50.0], row]), elements=("Co", "V"), names=["a", "b"])


# --- samples of one alloy


def test_samples_closer_than_the_tolerance_are_one_alloy_and_others_are_not():
    alloy = np.array([0.3, 0.4, 0.3])
    samples = alloy + np.outer([0, 0.2, -0.2, 3, 0.1], [1, -1, 0]) * SAME_ALLOY
    alloys, first, group = distinct_alloys(samples)
    assert len(alloys) == 2 and group.tolist() == [0, 0, 0, 1, 0] and first.tolist() == [0, 3]
    spectra = np.arange(10.0).reshape(5, 2)
    _, means, _ = average_replicates(samples, spectra)
    np.testing.assert_allclose(means, [spectra[[0, 1, 2, 4]].mean(axis=0), spectra[3]])


def test_what_is_planned_next_is_another_alloy_by_the_same_tolerance():
    space = CompositionSpace(("Co", "V", "Zr"), step_at_pct=20)
    taken = space.compositions(np.arange(len(space) - 1)) + np.array([0.3, -0.3, 0]) * SAME_ALLOY
    assert plan_batch(space, 1, taken=taken, method="farthest", seed=0).rows.tolist() == [len(space) - 1]

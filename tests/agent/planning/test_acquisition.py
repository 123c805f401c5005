import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import CompositionError, SpaceExhausted
from glassmap.agent.planning.acquisition import coverage_of, plan_batch

METHODS = ("uniform", "farthest", "random")
TERNARY = CompositionSpace(("Co", "V", "Zr"))
COARSE = CompositionSpace(("Co", "V", "Zr"), step_at_pct=10)  # 36 alloys
QUATERNARY = CompositionSpace(("Co", "V", "Zr", "Al"))
QUINARY = CompositionSpace(("Co", "V", "Zr", "Al", "Cu"))
NOTHING = np.empty((0, 3))


def gaps(*compositions):  # smallest distance between any two, at.%
    return 100 * pdist(np.concatenate(compositions)).min()


def wafers(seed=0):
    """About what a replay has: two wafers of one ternary, off any grid, half of the second a copy of the first."""
    rng = np.random.default_rng(seed)
    first = rng.dirichlet(np.ones(3), size=150)
    return np.concatenate([first, first[:75], rng.dirichlet(np.ones(3), size=75)])


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 999), size=st.integers(1, 15), n_taken=st.integers(0, 15))
@settings(max_examples=10, deadline=None)
def test_a_batch_is_new_distinct_and_nowhere_adjacent(method, seed, size, n_taken):
    space = CompositionSpace(("Co", "V", "Zr", "Al"), step_at_pct=5, limits=("Zr >= Co",))
    taken = space.compositions(np.random.default_rng(seed).choice(len(space), n_taken, replace=False))
    batch = plan_batch(space, size, taken=taken, method=method, seed=seed)
    assert len(batch.rows) == size
    np.testing.assert_array_equal(space.compositions(batch.rows), batch.compositions)
    distances = 100 * np.linalg.norm(batch.compositions[:, None] - np.concatenate([batch.compositions, taken]), axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 5 * np.sqrt(2) + 1e-6
    assert batch.coverage.separation == pytest.approx(distances.min())


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_and_state_plan_the_same_batch(method):
    taken = QUATERNARY.compositions(np.array([5, 70_000]))
    one, same, other = (plan_batch(QUATERNARY, 10, taken=taken, method=method, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.rows, same.rows)
    assert one.coverage == same.coverage
    assert set(one.rows.tolist()) != set(other.rows.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_a_space_fills_up_to_its_last_alloy_and_is_then_exhausted(method):
    taken, planned = NOTHING, []
    for _ in range(4):
        batch = plan_batch(COARSE, 10, taken=taken, method=method, seed=0)
        planned += batch.rows.tolist()
        taken = np.concatenate([taken, batch.compositions])
    assert sorted(planned) == list(range(36))  # the last batch holds the 6 that are left
    with pytest.raises(SpaceExhausted, match="All 36 candidates"):
        plan_batch(COARSE, 10, taken=taken, method=method, seed=0)


def test_a_crowded_large_space_still_fills_its_last_places():
    crowd = CompositionSpace(("Co", "V", "Zr", "Al"), bounds_at_pct={"Co": (1, 40)})
    rows = np.delete(np.arange(len(crowd)), [3, 50_000, 100_000])  # three left in more than a sample holds
    batch = plan_batch(crowd, 5, taken=crowd.compositions(rows), method="farthest", seed=0)
    assert sorted(batch.rows.tolist()) == [3, 50_000, 100_000]


@pytest.mark.parametrize(("space", "bound"), [(TERNARY, 8.1), (QUATERNARY, 12.6), (QUINARY, 15.0)])
def test_the_mean_distance_of_a_first_batch_of_20_is_small(space, bound):
    batch = plan_batch(space, 20, taken=np.empty((0, len(space.elements))), seed=1)
    assert batch.coverage.mean < bound


def test_uniform_covers_a_quaternary_better_than_farthest_and_random():
    means = [
        plan_batch(QUATERNARY, 20, taken=np.empty((0, 4)), method=method, seed=0).coverage.mean for method in METHODS
    ]
    assert means[0] < 0.8 * min(means[1:])


def test_batches_one_after_the_other_are_about_as_even_as_one_large_batch():
    taken = NOTHING
    for seed in range(3):
        taken = np.concatenate([taken, plan_batch(TERNARY, 20, taken=taken, seed=seed).compositions])
    at_once = plan_batch(TERNARY, 60, taken=NOTHING, seed=0)
    assert coverage_of(TERNARY, taken, taken=NOTHING).mean < 1.1 * at_once.coverage.mean


def test_a_batch_stays_away_from_where_measurements_off_the_grid_are():
    taken = np.random.default_rng(0).dirichlet(np.ones(3), size=200)
    taken = taken[taken[:, 2] > 0.4]
    batch = plan_batch(TERNARY, 15, taken=taken, seed=0)
    assert (batch.compositions[:, 2] > 0.4).sum() <= 2


def test_weights_draw_the_batch_to_where_they_are_heavy():
    def weigh(compositions):
        return np.where(compositions[:, 2] > 0.6, 20.0, 1.0)

    even, drawn = (plan_batch(TERNARY, 20, taken=NOTHING, seed=0, weights=weights) for weights in (None, weigh))
    heavy, few = ((batch.compositions[:, 2] > 0.6).sum() for batch in (drawn, even))
    assert heavy >= few + 4


def test_planning_on_a_space_that_is_not_convex_finds_its_alloys():
    binaries = CompositionSpace(("Co", "V", "Zr"), edges=True, max_elements=2)
    batch = plan_batch(binaries, 12, taken=NOTHING, seed=0)
    assert (np.count_nonzero(batch.compositions, axis=1) <= 2).all()
    assert batch.coverage.mean < 9.5  # each of the 12 serves a piece of edge of 25 at.% x √2: 8.8 from its middle


@pytest.mark.parametrize("method", METHODS)
def test_a_list_is_planned_by_its_rows_without_near_duplicates(method):
    candidates = wafers()
    taken = candidates[:10]
    batch = plan_batch(candidates, 25, taken=taken, method=method, seed=0)
    np.testing.assert_array_equal(candidates[batch.rows], batch.compositions)
    assert gaps(batch.compositions) > np.sqrt(2)
    distances = np.linalg.norm(batch.compositions[:, None] - taken, axis=2)
    assert 100 * distances.min() > np.sqrt(2)


def test_a_list_is_planned_to_its_end_but_a_composition_only_once():
    candidates = wafers()
    batch = plan_batch(candidates, 1000, taken=NOTHING, seed=0)
    assert len(batch.rows) == 225  # 300 rows, 75 of them copies
    assert gaps(batch.compositions) > 0
    with pytest.raises(SpaceExhausted, match="All 75 candidates"):
        plan_batch(candidates[150:225], 1, taken=candidates[:150], seed=0)


def test_coverage_agrees_with_all_distances():
    new, taken = COARSE.compositions(np.array([3, 20])), COARSE.compositions(np.array([30]))
    grid = COARSE.compositions(np.arange(36))
    to_known = 100 * np.linalg.norm(grid[:, None] - np.concatenate([new, taken]), axis=2).min(axis=1)
    coverage = coverage_of(COARSE, new, taken=taken)
    assert coverage == pytest.approx((gaps(new, taken), to_known.max(), to_known.mean()))
    assert coverage_of(COARSE, new[:1], taken=NOTHING).separation == np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size = 0"),
        ({"taken": np.full((1, 3), 33.3)}, "taken must be atomic fractions that sum to 1, got 99.9 in row 0"),
        ({"taken": np.full((1, 3), np.nan)}, "taken must be atomic fractions"),
        ({"taken": np.empty((0, 4))}, "taken needs 3 columns, one per element, got 4"),
        ({"candidates": np.full((5, 3), 33.3)}, "candidates must be atomic fractions"),
        ({"weights": lambda x: np.zeros(len(x))}, "not all 0"),
        ({"weights": lambda x: -x[:, 0]}, "0 or more"),
        ({"weights": lambda x: x[:, 0], "method": "random"}, "only uniform takes weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_argument_is_refused_with_a_remedy(arguments, message):
    with pytest.raises(CompositionError, match=message):
        plan_batch(**{"candidates": TERNARY, "size": 5, "taken": NOTHING, "seed": 0} | arguments)

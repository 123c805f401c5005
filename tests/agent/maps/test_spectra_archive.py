"""Which alloys of a space are kept to be looked at."""

import numpy as np

from glassmap.agent.maps.spectra_archive import KEPT_ALLOYS, ranks_to_show


def test_of_a_small_space_every_alloy_is_shown():
    np.testing.assert_array_equal(ranks_to_show(171, None), np.arange(171))
    np.testing.assert_array_equal(ranks_to_show(KEPT_ALLOYS, np.full(KEPT_ALLOYS, np.nan)), np.arange(KEPT_ALLOYS))


def test_of_a_large_space_the_widest_peaks_and_an_even_share_are_shown():
    n = 10 * KEPT_ALLOYS
    delta_q = np.where(np.arange(n) < 5_000, np.nan, np.linspace(0, 1, n))
    even, both = ranks_to_show(n, None), ranks_to_show(n, delta_q)
    assert len(even) == KEPT_ALLOYS // 2 and even[0] == 0 and even[-1] == n - 1
    assert set(even.tolist()) <= set(both.tolist()) and set(range(n - KEPT_ALLOYS // 2, n)) <= set(both.tolist())
    assert len(both) <= KEPT_ALLOYS and (np.diff(both) > 0).all()

import numpy as np

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import CurvePoint, Decision
from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.stores import ALLOYS, BATCH, SPECTRUM, record_all


def test_what_goes_in_comes_out(store: CampaignStore):
    record_all(store)
    point, decision = (
        CurvePoint(1, 2, 12.5, 14.0, None, {"delta_q": 0.02, "q1": None}),
        Decision("continue", "Go on.", improvements=(0.1, -0.2)),
    )
    with store.transaction():
        store.record_curve_point(point)
        store.record_decision(1, decision)
        store.record_artefact(1, "map", store.folder / "maps" / "m.parquet")
    assert store.suggestions() == BATCH
    ids, compositions, spectra = store.spectra(hold_out=False)
    assert ids == ["r001-01", "r001-02"]
    np.testing.assert_array_equal(compositions, ALLOYS[:2])
    np.testing.assert_array_equal(spectra, [SPECTRUM.astype(np.float32)] * 2)
    assert store.spectra(hold_out=True)[0] == ["r001-03"]
    assert store.axis()[0] == "q" and store.axis()[1].tolist() == [1.0, 2.0, 3.0, 4.5]
    assert (store.curve(), store.decision(), store.n_spectra()) == ([point], (1, decision), 3)
    assert store.artefact("map") == (1, store.folder / "maps" / "m.parquet")
    assert store.artefact("map", 2) is None
    assert store.coverage() == [Coverage(10.0, 20.0, 5.0)]


def test_no_two_of_its_parts_mean_something_else_by_a_name():
    names = [name for part in CampaignStore.__mro__[:-1] for name in vars(part) if not name.startswith("__")]
    assert sorted(names) == sorted(set(names))

"""Judge: all rounds' models by the same spectra, and none by what it learned from."""

from pathlib import Path

import numpy as np

from glassmap.agent.errors import ModelError
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.judge import SomeSpectra, mark_until
from glassmap.flows.rounds.train import models_of, spectra_to_judge, spectra_to_learn


def lost(round_: int) -> TrainedEnsemble:
    raise ModelError(f"The model of round {round_} can't be read.")


def test_earlier_models_are_asked_for_what_is_new_alone_and_never_for_what_they_learned_from(continued: Path):
    with open_campaign(continued) as campaign:
        held, learned = spectra_to_judge(campaign, 3), spectra_to_learn(campaign, 3)
        assert not mark_until(campaign, 3, since=1, held=held, models=lost), "all are marked by these"
        more = SomeSpectra(
            [*held.ids, *learned.ids],
            np.concatenate([held.compositions, learned.compositions]),
            np.concatenate([held.spectra, learned.spectra]),
            [*held.wafers, *learned.wafers],
        )
        marked = mark_until(campaign, 3, since=1, held=more, models=models_of(campaign))
        without = mark_until(campaign, 3, since=1, held=more, models=lost)
    n = len(held.ids)
    for round_ in (1, 2, 3):
        unknown = np.isnan(marked[round_].errors["mse"])
        assert not unknown[:n].any() and unknown[n:].tolist() == [k < 8 * round_ for k in range(24)]
        again = without[round_].errors["mse"]
        np.testing.assert_array_equal(again[:n], marked[round_].errors["mse"][:n])
        assert np.isnan(again[n:]).all(), "a model that is lost keeps what it was marked by"

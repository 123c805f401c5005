"""Which wafers a campaign would measure or make next, looked up without recording anything."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.samples import Samples
from glassmap.agent.errors import CampaignError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.planning.acquisition import WEIGHTS
from glassmap.agent.planning.wafers import Aim, Unreached, unreached
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.backends.protocol import open_backend
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.candidates import Choice, candidates_of
from glassmap.flows.rounds.leaning import leaning_of
from glassmap.flows.rounds.wafers import NextWafers, plan_next


class Ahead(NamedTuple):
    """What could be measured or made next."""

    next: NextWafers
    unreached: Unreached  # of all wafers, whatever was measured of them
    n_known: int  # alloys that are measured or waited for
    weights: str  # by which distances are weighed, of `WEIGHTS`


def look_ahead(folder: Path, *, n: int, points: int | None, weights: str | None) -> Ahead:
    """Choose the next wafers of a campaign as the next round would.

    Args:
        folder: Of a campaign that has begun.
        n: How many wafers to begin.
        points: How many of each to measure; by default those of a batch.
        weights: A name of `WEIGHTS`; by default that of the campaign file.

    Raises:
        CampaignError: If nothing is known of wafers, or weights ask a model that there isn't yet.
        SpaceExhausted: If no point is left, and no wafer can be made.
    """
    with CampaignStore.read_only(folder) as store:
        config = CampaignConfig.from_toml(folder / FILE_NAME).continuing(store.config, given=store.given_settings)
        weights = weights or config.planning.weights
        if weights not in WEIGHTS:
            raise CampaignError(f"--weights must be one of {', '.join(WEIGHTS)}, got {weights!r}.")
        planning = config.planning.model_copy(update={"unit": "wafer", "weights": weights})
        config = config.model_copy(update={"planning": planning})
        campaign = OpenCampaign(config, store, open_backend(config.backend, config, folder))
        trained = store.artefact("checkpoint")
        round_ = max(config.first_own_round, 1 + (0 if trained is None else trained[0]))
        if WEIGHTS[weights].weigh is not None and not campaign.at(round_).has_model:
            raise CampaignError(f"--weights {weights} asks the model of a round, and none is trained yet. Use even.")
        choice = Choice(candidates_of(campaign, round_), store)
        if not isinstance(choice.free, Samples):
            raise CampaignError(
                "Nothing is known of wafers. Name tables of those that lie there under [candidates] of the campaign "
                "file, or describe the chamber that makes them under [wafer]."
            )
        taken, leaning = store.taken(since=campaign.at(round_).since), leaning_of(campaign, round_)
        size = points or config.planning.batch
        found = plan_next(campaign, round_, choice, n, size, taken=taken, leaning=leaning)
        gone = store.given_up_wafers()
        assert isinstance(choice.candidates, Samples), "its free part is some"
        lie = [row for row, wafer in enumerate(choice.candidates.wafers) if plain_name(wafer) not in gone]
        held = [choice.candidates.compositions[np.array(lie, dtype=np.intp)], taken]
        out = unreached(
            Aim.of(config.space.build(), known=taken),
            [compositions for compositions in held if len(compositions)],
            workshop=found.workshop,
        )
        return Ahead(found, out, len(taken), weights)

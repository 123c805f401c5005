"""Which wafers a round measures, where wafers are planned and not single alloys."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.samples import Samples
from glassmap.agent.errors import CampaignError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.planning.acquisition import has_room
from glassmap.agent.planning.wafers import Aim, Option, WaferCost, WaferPlan, Workshop, plan_wafers
from glassmap.agent.planning.wafers import Choice as Judged
from glassmap.agent.shapes import TakenCompositions
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import PlannedWafer
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.candidates import Choice, candidates_of
from glassmap.flows.rounds.chamber import recipe_of, workshop_of
from glassmap.flows.rounds.leaning import Leaning


class NextWafers(NamedTuple):
    """What a batch is chosen from once its wafers are."""

    candidates: Samples  # of the campaign, with the points of wafers that are to be made
    choice: Choice  # the free ones on the chosen wafers
    recipes: Mapping[str, PlannedWafer]  # of the wafers of the plan that would have to be made, by name
    plan: WaferPlan
    workshop: Workshop | None  # where wafers can be made
    warnings: Mapping[str, Sequence[str]]  # by the wafer of the plan, of powers that no wafer was made at before

    @property
    def to_make(self) -> list[PlannedWafer]:
        """The wafers of the batch that are to be made."""
        return [recipe for name, recipe in self.recipes.items() if name in self.wafers]

    @property
    def wafers(self) -> tuple[str, ...]:
        """The wafers that the batch is chosen from."""
        free = self.choice.free
        assert isinstance(free, Samples), "wafers have samples"
        return free.wafer_names


def plans_wafers(campaign: OpenCampaign, round_: int) -> bool:
    """Return whether a round plans wafer by wafer; a guide's rounds plan alloys."""
    return campaign.config.planning.unit == "wafer" and not campaign.at(round_).is_guide


def is_room_left(campaign: OpenCampaign, round_: int) -> bool:
    """Return whether anything is left to plan: an alloy or sample that is free, or a wafer that could be made."""
    if plans_wafers(campaign, round_) and campaign.config.wafer is not None:
        return True
    choice = Choice(candidates_of(campaign, round_), campaign.store)
    return has_room(choice.alloys, taken=campaign.store.taken(since=campaign.at(round_).since))


def next_wafers(
    campaign: OpenCampaign,
    round_: int,
    choice: Choice,
    size: int,
    *,
    taken: TakenCompositions,
    leaning: Leaning,
    without: Collection[str] = (),
) -> NextWafers:
    """Choose the wafers of a round: one, or as many as are needed for so many points.

    Args:
        campaign: Open.
        round_: Whose batch it is.
        choice: What may be chosen.
        size: How many points the batch still needs.
        taken: Measured and pending alloys, shape `(t, e)`.
        leaning: How alloys are chosen, and so which count.
        without: Wafers that are left out.

    Raises:
        CampaignError: If no wafer of the samples is known.
        SpaceExhausted: If no point is left, and no wafer can be made.
    """
    n = 1
    while True:
        found = plan_next(campaign, round_, choice, n, size, taken=taken, leaning=leaning, without=without)
        points = sum(len(one.option.samples) for one in found.plan.chosen)
        if points >= size or len(found.plan.chosen) < n or found.plan.chosen[0] is found.plan.go_on:
            return found
        n += 1


def plan_next(
    campaign: OpenCampaign,
    round_: int,
    choice: Choice,
    n: int,
    points: int,
    *,
    taken: TakenCompositions,
    leaning: Leaning,
    without: Collection[str] = (),
) -> NextWafers:
    """Choose `n` wafers, or to go on with those that were begun, and give those that are to be made their names."""
    config, store, free = campaign.config, campaign.store, choice.free
    assert isinstance(free, Samples), "settings that plan wafers have some, or a chamber"
    if config.wafer is None and len(free) and not any(free.wafers):
        raise CampaignError(
            f'planning.unit = "wafer" needs to know on which wafer a sample lies, and none of {len(free)} says it. Add '
            'a column `wafer` to their table, or set planning.unit = "alloy".'
        )
    workshop, space = workshop_of(config, store), config.space.build()
    plan = plan_wafers(
        Aim.of(space, known=taken, weigh=leaning.weights),
        options_of(free, store),
        n=n,
        points=points,
        cost=WaferCost(config.cost.wafer, config.cost.point),
        seed=config.seed + round_,
        workshop=workshop,
    )
    assert isinstance(choice.candidates, Samples), "its free part is some"
    names = new_names([*choice.candidates.wafer_names, *(one.name for one in store.wafers())])
    named = {
        id(one.option): workshop.make(one.option.powers, next(names))
        for one in plan.begin
        if workshop is not None and one.option.powers is not None
    }

    def with_name(choice: Judged) -> Judged:
        return replace(choice, option=named.get(id(choice.option), choice.option))

    begin, others = (tuple(map(with_name, some)) for some in (plan.begin, plan.alternatives))
    plan = replace(plan, begin=begin, alternatives=others)
    chosen = [one.option for one in plan.chosen]
    if plan.go_on in plan.chosen and len(chosen[0].samples) < points:  # the last of what was begun fills no batch
        chosen += [one.option for one in plan.begin]
    recipes = {
        wafer: recipe_of(workshop, config.wafer, one.option, wafer, round_)
        for one in plan.begin
        for wafer in one.option.samples.wafer_names
        if workshop is not None and config.wafer is not None and one.option.powers is not None
    }
    on = {wafer for option in chosen for wafer in option.samples.wafers}
    made = [option.samples for option in chosen if option.powers is not None]
    candidates = Samples.joined([choice.candidates, *made])
    calibration = workshop and workshop.calibration
    warnings = {
        name: calibration.warn([*recipe.powers.values()]) if calibration else () for name, recipe in recipes.items()
    }
    chosen_from = Choice(candidates, store, without=without, only=on)
    return NextWafers(candidates, chosen_from, recipes, plan, workshop, warnings)


def options_of(free: Samples, store: CampaignStore) -> list[Option]:
    """Return what could be measured next: the rest of all wafers that were begun together, and each other wafer.

    Samples of which nobody knows the wafer count as one wafer.
    """
    begun, rows = store.begun_wafers(), dict[str, list[int]]()
    for row, wafer in enumerate(free.wafers):
        rows.setdefault("" if plain_name(wafer) in begun else f"on {wafer}", []).append(row)
    return [Option(free.select(np.array(some)), is_begun=not where) for where, some in rows.items()]


def new_names(known: Collection[str]) -> Iterator[str]:
    """Yield what wafers that are to be made are called, w001 and on, but for names that are taken."""
    taken = {plain_name(name) for name in known}
    return (name for k in count(1) if (name := f"w{k:03d}") not in taken)


def say_wafers(found: NextWafers, on: Iterable[str]) -> str:
    """Return in a few words on which wafers points lie and how those are made that are to be.

    Args:
        found: What the points were chosen from.
        on: The wafer of each.
    """
    recipes = found.recipes
    return "; ".join(
        f"{wafer}, to be made with {recipes[wafer].say()}" if wafer in recipes else wafer
        for wafer in dict.fromkeys(filter(None, on))
    )

"""The chamber of a campaign: the wafers that it could make, and those that it made or is to make."""

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.config.wafers import WaferConfig
from glassmap.agent.data.samples import Samples
from glassmap.agent.planning.wafers import Option, Workshop
from glassmap.agent.shapes import PerGun
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import PlannedWafer


def workshop_of(config: CampaignConfig) -> Workshop | None:
    """Return where a campaign's wafers are made; None without a table `[wafer]`.

    Raises:
        CompositionError: If a target can't be read or holds another element.
    """
    if (wafer := config.wafer) is None:
        return None
    from glassmap.agent.planning.sputtering import points_of  # most campaigns make no wafers

    x, y = points_of(wafer.diameter, wafer.edge, wafer.pitch)
    return Workshop(wafer.chamber(config.space.elements), x, y, config.space.build())


def recipe_of(workshop: Workshop, settings: WaferConfig, option: Option, name: str, round_: int) -> PlannedWafer:
    """Return how a wafer is made: the power of each gun, and for how long."""
    assert option.powers is not None, "a wafer that lies there isn't made"
    minutes = settings.minutes
    if minutes is None:
        assert settings.thickness is not None, "the campaign file says either"
        minutes = float(workshop.chamber.minutes(option.powers[None], settings.thickness)[0])
    return PlannedWafer(name, round_, dict(zip(settings.names, option.powers.tolist(), strict=True)), round(minutes, 2))


def planned_points(config: CampaignConfig, store: CampaignStore) -> Samples:
    """Return the points of the wafers that the campaign has planned to be made, as far as the space admits them.

    Of a wafer that a composition table names they are as measured, and only those; else as the chamber is expected to
    make them. Points keep the names that orders call them by, such as w001-017, wherever a table calls the point at
    that place something else.
    """
    workshop, nothing = workshop_of(config), Samples.none(len(config.space.elements))
    if workshop is None or config.wafer is None:
        return nothing
    found = [nothing]
    for planned in store.wafers():
        powers = _powers_of(planned, config.wafer)
        expected = None if powers is None else workshop.make(powers, planned.name).samples
        measured = store.table_points(planned.name)
        if len(measured):
            admitted = measured.select(np.flatnonzero(workshop.space.admits(measured.compositions)))
            found.append(_called_as_ordered(admitted, workshop, planned.name, within=config.wafer.pitch / 2))
        elif expected is not None:
            found.append(expected)
    return Samples.joined(found)


def _powers_of(planned: PlannedWafer, settings: WaferConfig) -> PerGun | None:
    """Return a planned wafer's powers in the guns' order; None where the chamber has other guns by now."""
    if {*planned.powers} != {*settings.names}:
        return None
    return np.array([planned.powers[name] for name in settings.names])


def _called_as_ordered(measured: Samples, workshop: Workshop, wafer: str, *, within: float) -> Samples:
    """Return points of a table by the names of the grid's points, where one lies within some mm."""
    called = workshop.names(wafer)
    taken = set(measured.names)
    names = list(measured.names)
    for row, (name, x, y) in enumerate(zip(measured.names, measured.x, measured.y, strict=True)):
        if name in called or np.isnan(x) or np.isnan(y):
            continue
        away = np.hypot(workshop.x - x, workshop.y - y)
        nearest = int(away.argmin())
        if away[nearest] <= within and called[nearest] not in taken:
            names[row] = called[nearest]
            taken.add(called[nearest])
    return Samples(tuple(names), (wafer,) * len(names), measured.compositions, measured.x, measured.y)

"""The chamber of a campaign: the wafers that it could make, and those that it made or is to make."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.config.wafers import MadeWafer, WaferConfig
from glassmap.agent.data.samples import Samples, read_samples
from glassmap.agent.errors import CampaignError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.planning.wafers import Option, Workshop
from glassmap.agent.shapes import PerGun
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import PlannedWafer

if TYPE_CHECKING:
    from glassmap.agent.planning.sputtering import Calibration, Deposition


def workshop_of(config: CampaignConfig, store: CampaignStore) -> Workshop | None:
    """Return where a campaign's wafers are made, calibrated by those that were; None without a table `[wafer]`.

    Raises:
        CompositionError: If a target can't be read or holds another element.
        CampaignError: If a wafer that was made isn't in its table.
        DatasetError: If such a table can't be read.
    """
    if (wafer := config.wafer) is None:
        return None
    from glassmap.agent.planning.sputtering import points_of  # most campaigns make no wafers

    calibration = calibration_of(config, store)
    chamber = wafer.chamber(config.space.elements) if calibration is None else calibration.chamber
    x, y = points_of(wafer.diameter, wafer.edge, wafer.pitch)
    return Workshop(chamber, x, y, config.space.build(), calibration)


def calibration_of(config: CampaignConfig, store: CampaignStore | None = None) -> "Calibration | None":
    """Return the chamber as wafers tell it; None where there is no chamber, or no such wafer.

    Those are the wafers under `[[wafer.made]]`, and those that the campaign planned and has a composition table of.

    Args:
        config: The campaign's.
        store: The campaign's; None where only the file is asked.

    Raises:
        CampaignError: If a wafer that was made isn't in its table.
        DatasetError: If such a table can't be read.
        CompositionError: If a table says of no point where it lies.
    """
    if (wafer := config.wafer) is None:
        return None
    from glassmap.agent.planning.sputtering import calibrate

    made = [_made(one, config.space.elements) for one in wafer.made]
    if store is not None:
        made += _made_by_campaign(wafer, store)
    return calibrate(wafer.chamber(config.space.elements), made) if made else None


def _made(one: MadeWafer, elements: Sequence[str]) -> "Deposition":
    """Return a wafer that was made before, as its table says it."""
    from glassmap.agent.planning.sputtering import Deposition

    samples = read_samples(
        [one.table], elements, sample=one.sample, columns=one.columns, unit=one.unit, others=one.others
    )
    called = {plain_name(name): name for name in samples.wafer_names}
    if one.wafer is None and len(called) > 1:
        raise CampaignError(
            f"{one.table.name} holds the wafers {', '.join(called.values())}; say which one is meant, "
            f'such as wafer = "{next(iter(called.values()))}".'
        )
    if one.wafer is not None and plain_name(one.wafer) not in called:
        raise CampaignError(
            f"{one.table.name} holds no wafer {one.wafer!r}, but {', '.join(called.values()) or 'none that it names'}. "
            "Correct wafer in [[wafer.made]]."
        )
    if one.wafer is not None:
        samples = samples.select(samples.on(called[plain_name(one.wafer)]))
    name = one.wafer or next(iter(called.values()), one.table.stem)
    at = (samples.x, samples.y, samples.compositions)
    return Deposition(one.powers, *at, thickness=one.thickness, minutes=one.minutes, name=name)


def _made_by_campaign(settings: WaferConfig, store: CampaignStore) -> list["Deposition"]:
    """Return the wafers that were planned and whose table came, as far as it says where its points lie."""
    from glassmap.agent.planning.sputtering import Deposition

    failed = {plain_name(one.wafer) for one in store.excluded_wafers() if one.kind == "failed"}
    found = list["Deposition"]()
    for planned in store.wafers():
        powers, points = _powers_of(planned, settings), store.table_points(planned.name)
        placed = np.flatnonzero(np.isfinite(points.x) & np.isfinite(points.y))
        if powers is not None and len(placed) and plain_name(planned.name) not in failed:
            points = points.select(placed)
            at = (points.x, points.y, points.compositions)
            found.append(Deposition(powers.tolist(), *at, minutes=planned.minutes, name=planned.name))
    return found


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
    workshop, nothing = workshop_of(config, store), Samples.none(len(config.space.elements))
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

"""Mend: a model, map or archive that is lost, harmed or of a format that is gone is made again from the spectra."""

from collections.abc import Iterator
from pathlib import Path

from glassmap.agent.content_hash import harm_of
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.spectra_archive import harm_of_archive
from glassmap.agent.models.checkpoint import why_unreadable
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.glass import glass_rule
from glassmap.flows.rounds.map import MAP, drop_other_archives, values_of_maps, write_alloys, write_map
from glassmap.flows.rounds.train import load_model

UNRECORDED = "is recorded no more"


def mend_artefacts(campaign: OpenCampaign) -> list[str]:
    """Make again every checkpoint, map and archive that a stage has left and that isn't what was written, and log it.

    The same seed and spectra give the same files, to the bit on the same machine. What is whole is left as it is.

    Returns:
        A sentence for each that was made again, or can't be.
    """
    return [*_mend_models(campaign), *_mend_maps(campaign), *_mend_archive(campaign)]


def _mend_models(campaign: OpenCampaign) -> Iterator[str]:
    for round_, path in _expected(campaign.store, "train", "checkpoint").items():
        if path is not None and why_unreadable(path) is None:
            continue
        try:
            again = load_model(campaign, round_)[1]
        except ModelError as error:
            yield _say(campaign, round_, str(error))
        else:
            yield f"The model of round {round_} was trained again: {again.name}."


def _mend_maps(campaign: OpenCampaign) -> Iterator[str]:
    store = campaign.store
    if q_axis(*store.axis()) is None:
        return
    for kind, held in values_of_maps(campaign).items():
        recorded = _expected(store, "map", kind) if kind == MAP else store.artefacts(kind)  # others may be none
        for round_, path in recorded.items():
            if (harm := UNRECORDED if path is None else harm_of(path)) is None:
                continue
            what = f"{kind} of round {round_}"
            try:
                ensemble, checkpoint = load_model(campaign, round_)
                rule = glass_rule(campaign, round_, ensemble)
                again = write_map(campaign, round_, ensemble, checkpoint, held=held, rule=rule)
            except ModelError as error:
                yield _say(campaign, round_, f"The {what} {harm}, and can't be made again: {error}")
                continue
            assert again is not None, "the axis is q"
            with store.transaction():
                store.record_artefact(round_, kind, again)
                store.log("made again", f"{what}, which {harm}: {path and path.stem} -> {again.stem}")
            yield _say(campaign, round_, f"The {what} {harm}: made again, {again.name}.")


def _mend_archive(campaign: OpenCampaign) -> Iterator[str]:
    """The last alone: those of earlier rounds aren't kept."""
    store = campaign.store
    found = store.artefact("archive") or next(reversed(_expected(store, "map", "archive").items()), None)
    if found is None:
        return
    round_, path = found
    if (harm := UNRECORDED if path is None else harm_of_archive(path)) is None:
        return
    map_ = store.artefact("map", round_)
    try:
        again = write_alloys(campaign, round_, load_model(campaign, round_)[0], None if map_ is None else map_[1])
    except ModelError as error:
        yield _say(campaign, round_, f"The archive of round {round_} {harm}, and can't be made again: {error}")
        return
    with store.transaction():
        store.record_only_artefact(round_, "archive", again)
        store.log("made again", f"archive of round {round_}, which {harm}: {path and path.stem} -> {again.stem}")
    drop_other_archives(again)
    yield _say(campaign, round_, f"The archive of round {round_} {harm}: made again, {again.name}.")


def _expected(store: CampaignStore, stage: str, kind: str) -> dict[int, Path | None]:
    """Return by round what a stage that is done has left; None where the record of it is lost."""
    done = {one.round: None for one in store.stages() if one.name == stage and one.status == "done"}
    return dict(sorted({**done, **store.artefacts(kind)}.items()))


def _say(campaign: OpenCampaign, round_: int, said: str) -> str:
    campaign.report("mend", 1, 1, said, round_=round_)
    return said

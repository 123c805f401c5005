"""Mend: a model, map or archive that is lost, harmed or of a format that is gone is made again from the spectra."""

from collections.abc import Iterator

from glassmap.agent.content_hash import harm_of
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.spectra_archive import harm_of_archive
from glassmap.agent.models.checkpoint import why_unreadable
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.map import drop_other_archives, write_alloys, write_map
from glassmap.flows.rounds.train import load_model


def mend_artefacts(campaign: OpenCampaign) -> list[str]:
    """Make again every recorded checkpoint, map and archive that isn't what was written, and log it.

    The same seed and spectra give the same files, to the bit on the same machine. What is whole is left as it is.

    Returns:
        A sentence for each that was made again, or can't be.
    """
    return [*_mend_models(campaign), *_mend_maps(campaign), *_mend_archive(campaign)]


def _mend_models(campaign: OpenCampaign) -> Iterator[str]:
    for round_, path in campaign.store.artefacts("checkpoint").items():
        if why_unreadable(path) is None:
            continue
        try:
            again = load_model(campaign, round_)[1]
        except ModelError as error:
            yield _say(campaign, round_, str(error))
        else:
            yield f"The model of round {round_} was trained again: {again.name}."


def _mend_maps(campaign: OpenCampaign) -> Iterator[str]:
    store = campaign.store
    for round_, path in store.artefacts("map").items():
        if (harm := harm_of(path)) is None:
            continue
        try:
            again = write_map(campaign, round_, *load_model(campaign, round_))
        except ModelError as error:
            yield _say(campaign, round_, f"The map of round {round_} {harm}, and can't be made again: {error}")
            continue
        assert again is not None, "where there was a map, the axis is q"
        with store.transaction():
            store.record_artefact(round_, "map", again)
            store.log("made again", f"map of round {round_}, as {path.name} {harm}: {again.name}")
        yield _say(campaign, round_, f"The map of round {round_} {harm}: made again, {again.name}.")


def _mend_archive(campaign: OpenCampaign) -> Iterator[str]:
    store = campaign.store
    if (found := store.artefact("archive")) is None or (harm := harm_of_archive(found[1])) is None:
        return
    round_, path = found
    map_ = store.artefact("map", round_)
    try:
        again = write_alloys(campaign, round_, load_model(campaign, round_)[0], None if map_ is None else map_[1])
    except ModelError as error:
        yield _say(campaign, round_, f"The archive of round {round_} {harm}, and can't be made again: {error}")
        return
    with store.transaction():
        store.record_only_artefact(round_, "archive", again)
        store.log("made again", f"archive of round {round_}, as {path.name} {harm}: {again.name}")
    drop_other_archives(again)
    yield _say(campaign, round_, f"The archive of round {round_} {harm}: made again, {again.name}.")


def _say(campaign: OpenCampaign, round_: int, said: str) -> str:
    campaign.report("mend", 1, 1, said, round_=round_)
    return said

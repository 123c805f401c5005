"""What a map offers to be taken along: its table and its picture, made once somebody asks for them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pandas as pd

from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.shapes import Mask
from glassmap.dashboard.data import CampaignSnapshot, Map, Slice

MIME = {"png": "image/png", "svg": "image/svg+xml"}


class Download(NamedTuple):
    """A file that is offered."""

    label: str
    name: str
    mime: str
    make: Callable[[], bytes]
    about: str


def downloads_of(
    campaign: CampaignSnapshot,
    map_: Map,
    archive: SpectraArchive | None,
    column: str,
    *,
    cut: Slice | None = None,
    has_picture: bool = True,
) -> list[Download]:
    """Return what of a map can be taken along.

    Args:
        campaign: Whose last map it is.
        map_: The map.
        archive: The spectra kept of it, if there are.
        column: That is shown.
        cut: The slice that is shown; by default the whole.
        has_picture: Whether what is shown can be printed, as a ternary can.
    """
    assert campaign.map is not None, "there is one"
    stem = f"{campaign.name}-round-{map_.round}"
    rows = None if cut is None else cut.rows
    offered = [
        Download(
            "Parquet",
            f"{stem}.parquet",
            "application/vnd.apache.parquet",
            campaign.map[1].read_bytes,
            "Every alloy and every figure, and by what the map was made.",
        ),
        Download(
            "CSV",
            f"{stem}.csv",
            "text/csv",
            partial(_csv, campaign, map_, rows),
            f"Every alloy{'' if cut is None else f' at {cut.held}'} in at.%, and every figure of it.",
        ),
    ]
    if has_picture:
        draw = partial(_picture, campaign, map_, archive, column, cut)
        offered += [
            Download(format_.upper(), f"{stem}-{column}.{format_}", mime, partial(draw, format_), "For print.")
            for format_, mime in MIME.items()
        ]
    return offered


def _csv(campaign: CampaignSnapshot, map_: Map, rows: Mask | None) -> bytes:
    at_pct = pd.DataFrame(100 * map_.compositions, columns=list(campaign.elements)).round(4)
    table = pd.concat([at_pct, map_.figures], axis=1)
    return (table if rows is None else table[rows]).to_csv(index=False, float_format="%.6g").encode()


def _picture(
    campaign: CampaignSnapshot,
    map_: Map,
    archive: SpectraArchive | None,
    column: str,
    cut: Slice | None,
    format_: str,
) -> bytes:
    from glassmap.dashboard.pictures import picture_of_map  # loads matplotlib, which pages do without
    from glassmap.dashboard.plots.for_print import encoded

    figure = picture_of_map(campaign, map_, archive, column, held=campaign.settings.held, cut=cut)
    return encoded(figure, format_)

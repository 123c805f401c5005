"""A campaign's last map as a small picture: a triangle coloured by P(glass), or by Δq where nobody can say that."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glassmap.agent.maps.glass import P_GLASS
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.dashboard.data import CampaignSnapshot, Map, boundary_over, colour_limits, read_map_of
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.ternary import (
    CORNERS,
    HEIGHT,
    PIXELS,
    Cells,
    Line,
    axes_of,
    colours_of,
    paint,
)

SLICE_AT_PCT = 20.0  # share at which all elements but three are held, or the nearest on the grid
WIDTH = 400  # pixels of the picture; it is drawn larger, as below, so that its lines are smooth
ROOM = 100  # pixels around the triangle, for its elements
LETTERS = 72  # pixels
EDGE, BOUNDARY = 6, 9  # pixels


class Thumbnail(NamedTuple):
    """A small picture of a map."""

    png: bytes
    caption: str
    words: str  # what it shows, for those who can't see it


def draw_thumbnail(campaign: CampaignSnapshot) -> Thumbnail | None:
    """Draw the last map of a campaign, of more than three elements a slice; None without a map of three or more.

    Raises:
        ModelError: If the map's file is missing or damaged.
    """
    if campaign.map is None or len(campaign.elements) < 3:
        return None
    map_ = read_map_of(campaign, *campaign.map, only=(P_GLASS, DELTA_Q.name, "known"))
    column = P_GLASS if P_GLASS in map_.figures else DELTA_Q.name
    rows, held = _slice(campaign, map_)
    values, boundary = map_.values(column), boundary_over(campaign, map_, column)
    cells = paint(
        map_.compositions[rows][:, :3],
        colours_of(values[rows], colour_limits(map_, None, column), QUANTITIES[column].colours),
        map_.values("known")[rows] == 0,
        boundary=boundary and boundary.of(rows),
    )
    caption = (
        f"{'P(glass)' if column == P_GLASS else DELTA_Q.label}, round {map_.round}{f', at {held}' if held else ''}"
    )
    words = f"Triangle of {', '.join(campaign.elements[:3])} in the colours of {caption}"
    return Thumbnail(_png(cells, campaign.elements[:3]), caption, words)


def _slice(campaign: CampaignSnapshot, map_: Map) -> tuple[np.ndarray, str]:
    """Return which alloys hold all elements but the first three, as the map's page begins, and at what in words."""
    keep, held = np.ones(len(map_.compositions), dtype=bool), list[str]()
    for k, element in enumerate(campaign.elements[3:], 3):
        share = 100 * map_.compositions[:, k]
        levels = np.unique(share[keep].round(3))
        level = levels[np.abs(levels - SLICE_AT_PCT).argmin()]
        keep &= np.abs(share - level) < 1e-3
        held.append(f"{element} {level:g} at.%")
    return keep, ", ".join(held)


def _png(cells: Cells, elements: tuple[str, ...]) -> bytes:
    height, width = PIXELS
    picture = Image.new("RGBA", (width + 2 * ROOM, height + 2 * ROOM))
    picture.paste(Image.fromarray(cells.image), (ROOM, ROOM))
    pen = ImageDraw.Draw(picture)
    for contour in cells.contours:
        if contour.is_strong:
            for ink, wide in (("white", 2 * BOUNDARY), ("black", BOUNDARY)):
                for line in (contour.inside, contour.outside):
                    _draw_line(pen, line, ink, wide)
    font = ImageFont.load_default(size=LETTERS)
    for axis, corner, below in zip(axes_of(elements), CORNERS, (-1, 1, 1), strict=True):
        _draw_line(pen, axis.edge, axis.colour, EDGE)
        x, y = _pixels(corner)
        pen.text((x, y + below * ROOM / 2), axis.corner.text, fill=axis.colour, font=font, anchor="mm")
    small = picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.quantize(method=Image.Quantize.FASTOCTREE).save(file, "PNG")
    return file.getvalue()


def _pixels(point: np.ndarray) -> tuple[float, float]:
    """Return where a point of the triangle is on the picture."""
    height, width = PIXELS
    return ROOM + width * float(point[0]), ROOM + height * (1 - float(point[1]) / HEIGHT)


def _draw_line(pen: ImageDraw.ImageDraw, line: Line, ink: str, wide: int) -> None:
    """Draw a line, which a row of NaN interrupts."""
    lifted = np.flatnonzero(np.isnan(line[:, 0]))
    for part in np.split(line, lifted):
        points = [_pixels(point) for point in part[~np.isnan(part[:, 0])]]
        if len(points) > 1:
            pen.line(points, fill=ink, width=wide, joint="curve")

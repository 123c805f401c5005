"""What P(glass) and the intervals of Δq are worth, as plotly figures."""

from collections.abc import Sequence

import plotly.graph_objects as go

from glassmap.agent.maps.reliability import EDGES, Share
from glassmap.agent.models.config import CONFIDENCE
from glassmap.dashboard.plots.style import BLUE, GREY, LEGEND_BELOW, ORANGE, set_style
from glassmap.dashboard.reliability import Evidence, least_of

LOOKS = {"held out": (BLUE, "circle", -1), "left out": (ORANGE, "circle-open", 1)}  # colour, symbol, side
APART = 0.012  # of P(glass), so that bars of two kinds don't hide each other
RANGE = [-0.03, 1.03]
ROW = 26  # pixels a group


def draw_reliability(found: Sequence[Evidence]) -> go.Figure:
    """Draw how many of the alloys of each class of P(glass) were measured to be a glass.

    Args:
        found: At least one with a P(glass).
    """
    figure = go.Figure()
    line = {"color": GREY, "width": 1}
    figure.add_scatter(x=[0, 1], y=[0, 1], name="as said", mode="lines", line=line, hoverinfo="skip")
    for one in found:
        if one.of_glass is None:
            continue
        colour, symbol, side = LOOKS[one.kind]
        classes = [each for each in one.of_glass.classes if each.measured.of]
        figure.add_scatter(
            x=[each.said + side * APART * (len(found) > 1) for each in classes],
            y=[each.measured.value for each in classes],
            error_y=_bars([each.measured for each in classes], colour),
            name=f"{one.kind}, {one.of_glass.alloys} alloys",
            mode="markers+text",
            text=[str(each.measured.of) for each in classes],
            textposition="middle left" if side < 0 else "middle right",
            textfont={"color": colour, "size": 11},
            marker={"color": colour, "symbol": symbol, "size": 9, "line": {"width": 2}},
            hovertext=[
                f"P(glass) {each.low:g} to {each.high:g}, {each.said:.2f} on average: {each.measured.say()} are a glass"
                for each in classes
            ],
            hoverinfo="text+name",
            cliponaxis=False,
        )
    set_style(figure, height=430)
    figure.update_layout(legend=LEGEND_BELOW)
    figure.update_xaxes(title="P(glass) that was said", range=RANGE, tickvals=EDGES)
    figure.update_yaxes(title="share measured to be a glass", range=RANGE, tickvals=EDGES)
    return figure


def draw_coverage(found: Sequence[Evidence]) -> go.Figure:
    """Draw how often the interval of Δq holds the measured one, of all alloys and by group.

    Args:
        found: At least one.
    """
    groups = list(dict.fromkeys(name for one in found for name in one.of_delta_q))
    places = {name: -number for number, name in enumerate(groups)}
    figure = go.Figure()
    for one in found:
        colour, symbol, side = LOOKS[one.kind]
        shares = one.of_delta_q
        figure.add_scatter(
            x=[share.value for share in shares.values()],
            y=[places[name] - 0.14 * side * (len(found) > 1) for name in shares],
            error_x=_bars([*shares.values()], colour),
            name=one.kind,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 2}},
            hovertext=[f"{name}: {share.say()}" for name, share in shares.items()],
            hoverinfo="text+name",
            cliponaxis=False,
        )
    figure.add_vline(CONFIDENCE, line={"color": GREY, "width": 1})
    set_style(figure, height=max(430, 170 + ROW * len(groups)))
    figure.update_layout(legend=LEGEND_BELOW)
    figure.update_xaxes(title="share inside", range=[least_of(found) - 0.03, 1.03])
    names = [f"{name} ({_counts(found, name)})" for name in groups]
    figure.update_yaxes(tickvals=[*places.values()], ticktext=names, range=[-len(groups) + 0.4, 0.6])
    return figure


def _bars(shares: Sequence[Share], colour: str) -> dict[str, object]:
    """Return error bars from the lower to the upper end of what each share may truly be."""
    ends = [share.interval for share in shares]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - share.value for share, (_, high) in zip(shares, ends, strict=True)],
        "arrayminus": [share.value - low for share, (low, _) in zip(shares, ends, strict=True)],
        "color": colour,
        "thickness": 1.2,
        "width": 4,
    }


def _counts(found: Sequence[Evidence], name: str) -> str:
    """Return of how many alloys each kind has a group, such as `60 and 48`."""
    return " and ".join(str(one.of_delta_q[name].of) for one in found if name in one.of_delta_q)

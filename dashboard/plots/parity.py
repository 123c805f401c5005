"""A figure of the held-out alloys, generated against measured, as a plotly figure."""

import numpy as np
import plotly.graph_objects as go

from glassmap.agent.data.composition import label
from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.dashboard.held_out import Pairs
from glassmap.dashboard.plots.style import BLUE, BLUE_VEIL, GREY, LEGEND_BELOW, ORANGE, set_style


def draw_parity(pairs: Pairs, *, elements: tuple[str, ...], rule: GlassRule | None) -> go.Figure:
    """Draw one figure, generated against measured, with the intervals and the line through zero.

    Args:
        pairs: At least one.
        elements: Of the alloys, which are named as one hovers over them.
        rule: Whose threshold is marked; None marks nothing.
    """
    peak_figure, (low, high) = pairs.figure, pairs.limits()
    figure, ends = go.Figure(), np.array([low, high])
    figure.add_scatter(
        x=ends, y=ends, name="generated = measured", mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip"
    )
    slope = pairs.agreement.slope
    figure.add_scatter(
        x=ends,
        y=slope * ends,
        name=f"slope {slope:.3f}",
        mode="lines",
        line={"color": ORANGE, "width": 1.2, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=pairs.measured,
        y=pairs.generated,
        error_y={"type": "data", "array": pairs.half_width, "color": BLUE_VEIL, "thickness": 1, "width": 0},
        name=f"± {pairs.interval}",
        mode="markers",
        marker={"color": BLUE, "size": 5},
        customdata=[label(composition, elements) for composition in pairs.compositions],
        hovertemplate=f"%{{customdata}}<br>measured %{{x:.{peak_figure.digits}f}}, generated "
        f"%{{y:.{peak_figure.digits}f}} {peak_figure.unit}<extra></extra>",
    )
    if rule is not None and peak_figure == DELTA_Q and low < rule.threshold < high:
        for line in (figure.add_hline(rule.threshold), figure.add_vline(rule.threshold)):
            line.update_shapes(line={"color": GREY, "dash": "dot", "width": 1})
    set_style(figure, height=440)
    figure.update_layout(legend=LEGEND_BELOW)
    figure.update_xaxes(title=f"{peak_figure.head}, measured", range=[low, high])
    figure.update_yaxes(title=f"{peak_figure.head}, generated", range=[low, high])
    return figure

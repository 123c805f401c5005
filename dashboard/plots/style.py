"""The look that all interactive figures share.

Viridis colours figures of alloys, Okabe and Ito's set lines; both are safe for the colour-blind. Backgrounds are
transparent and inks grey enough to be read on white and on black.
"""

import plotly.graph_objects as go

BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#808080"
BLUE_VEIL, ORANGE_VEIL, PALE_ORANGE = "rgba(0,114,178,0.35)", "rgba(213,94,0,0.35)", "rgba(213,94,0,0.15)"  # bands
LINES = (BLUE, ORANGE, GREEN, PINK, "#e69f00", "#56b4e9", "#b8a900", GREY)

LEGEND_BELOW = {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0}  # covers nothing, however narrow the page


def set_style(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a figure the house's look and return it."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "font": {"color": GREY}},
        hoverlabel={"namelength": -1},
    )
    grid = {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "linecolor": GREY, "automargin": True}
    figure.update_xaxes(**grid)
    figure.update_yaxes(**grid)
    return figure

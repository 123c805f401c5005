"""Arrays to figures: for the browser (plotly) and for print (matplotlib)."""

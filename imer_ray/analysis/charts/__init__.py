"""The page's interactive charts as plain Plotly figures: ``{"data": [...], "layout": {...}}``.

Colours are CSS variables, which the page's script puts in when it draws, so that a chart follows light and dark.
"""

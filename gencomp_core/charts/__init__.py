"""Charts: table in, Plotly figure out. Nothing is computed here that a table could hold."""

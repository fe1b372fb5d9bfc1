"""Reports: one self-contained HTML page from plain facts."""

"""Pages: user interface only."""

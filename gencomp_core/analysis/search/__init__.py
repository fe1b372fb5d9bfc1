"""Finding the frontier without measuring everything: what may be tried, what few samples say, what is measured."""

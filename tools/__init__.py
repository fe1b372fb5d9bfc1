"""Commands that make what `assets/` ships."""

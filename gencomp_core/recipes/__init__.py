"""Recipes: frozen, ordered lists of compression stages, as data. Nothing here imports torch."""

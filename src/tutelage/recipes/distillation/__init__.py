"""Recipes of supervised compression and merging."""

"""Recipes of teaching at inference time."""

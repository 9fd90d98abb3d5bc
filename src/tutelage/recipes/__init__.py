"""Recipes, one file per method: its data, models, baselines and claims. Nothing here imports torch before a run."""

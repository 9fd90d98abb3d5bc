"""Recipes of language-model training and ranking."""

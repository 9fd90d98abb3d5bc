"""Recipes of theory."""

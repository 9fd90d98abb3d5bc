"""Recipes of semi-supervised learning."""

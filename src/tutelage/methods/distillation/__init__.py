"""Supervised compression and merging: a small student learns from larger or several teachers and true labels."""

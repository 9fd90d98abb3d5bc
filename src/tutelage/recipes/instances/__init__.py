"""Recipes of multiple-instance learning, anomalies and active selection."""

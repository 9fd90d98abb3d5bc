"""Bags, anomalies and active selection: a teacher decides which instances or samples a student learns from."""

"""Learning features without labels: data, models, baselines and claims."""

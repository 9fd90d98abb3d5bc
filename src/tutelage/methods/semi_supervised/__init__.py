"""Learning from few labels and many unlabelled samples."""

"""Language-model training and ranking."""

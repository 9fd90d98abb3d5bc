"""Theory: small settings in which what a teacher passes on can be computed, and measured beside it."""

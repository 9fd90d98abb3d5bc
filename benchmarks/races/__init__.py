"""Races against other libraries: the same models, data, batch order, steps and threads, turn by turn in one process tree.

`make race` runs all; `python -m benchmarks.races NAME --rounds N` runs one, in the environment that `tools/setup-peers.sh` makes.
"""

"""Speed and memory, ours and the alternative in one process, as ratios: `python -m benchmarks [NAME ...]`."""

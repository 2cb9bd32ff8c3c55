"""Load on the running suite: the replay of real trade, and the benchmarks."""

"""Ray's part: one keeper actor per node, one catalog per cluster, and each process's session with them."""

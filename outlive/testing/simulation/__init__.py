"""A simulated cluster to test outlive in: one process, one seed, and all that can go wrong between machines."""

"""A world to try outlive in: one process, one seed, and all that can go wrong between machines."""

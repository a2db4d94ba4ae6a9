"""Tending: what the keeper does for a shelf, and `outlive check`: it ends, sums, mends and adopts."""

"""Tending: the work of the keeper and of `outlive check` on a shelf: ending, summing, mending, adopting."""

"""Spilling: moving arrays between memory and disk, and making room for writers."""

"""Spilling: what moves between memory and disk, when, and for whom room is made."""

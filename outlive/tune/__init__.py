"""Tuning a node's shared memory: what it gives now, how fast that is here, and what would make it faster."""

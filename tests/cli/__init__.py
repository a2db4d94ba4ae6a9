"""Tests of `outlive.arrays`: one machine, no Ray."""

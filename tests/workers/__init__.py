"""Tests of `outlive.workers`."""

"""Tests of the README and the guides."""

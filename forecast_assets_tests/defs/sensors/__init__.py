"""Tests of defs.sensors."""

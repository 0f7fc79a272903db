"""Tests of data.quality."""

"""Tests of data.sources.http."""

"""Tests of data.sources.sql."""

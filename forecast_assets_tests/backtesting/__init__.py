"""Tests of backtesting."""

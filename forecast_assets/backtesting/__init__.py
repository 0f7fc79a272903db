"""Backtest every model on every series, each fold once."""

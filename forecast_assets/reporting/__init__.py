"""Render the weekly report."""

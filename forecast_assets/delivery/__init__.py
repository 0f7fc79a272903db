"""Deliver published numbers to databases, files and forecast hubs."""

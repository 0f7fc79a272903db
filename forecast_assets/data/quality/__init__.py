"""Compare each fetch with the version before it and report findings."""

"""Read rows over HTTP."""

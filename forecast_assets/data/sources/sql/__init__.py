"""Read rows from a SQL database."""

"""Store every version of every table as Delta tables."""

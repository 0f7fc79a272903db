"""Read the source's rows: files, HTTP, SQL or a Python function."""

"""Turn the source's rows into one value for each series and week."""

"""The weekly forecast as a Dagster asset graph, with every version kept."""

"""Read forecast.toml into frozen settings and keep secrets out of every text."""

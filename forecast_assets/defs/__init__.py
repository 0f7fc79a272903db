"""The Dagster side: one Dagster concept a file, each a thin shell over the package's functions."""

import warnings

import dagster as dg

# Dagster is pinned to one minor version, under which its beta parameters do not change; said once
# for each asset at every command, the warning only hides what matters.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

"""The Dagster side: a file per Dagster concept, each a thin layer over the package's functions."""

import warnings

import dagster as dg

# `backfill_policy` and `data_version` are beta in Dagster 1.13, to which the package is pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

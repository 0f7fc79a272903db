"""Define the rules that the rows of the tables keep, across columns."""

import pandas as pd

from forecast_assets.storage.contract import Rule

STATUSES = ("scored", "failed", "ineligible", "too_few")


def forecast_within_intervals(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Return whether the forecast of each row lies within its intervals."""
    lows = frame.filter(regex="^lo_").max(axis=1)
    highs = frame.filter(regex="^hi_").min(axis=1)
    return ~((frame["y_hat"] < lows) | (frame["y_hat"] > highs))


WEEK_RULE: tuple[str, Rule] = (
    "ds = cutoff + h weeks",
    lambda rows: rows["ds"] == rows["cutoff"] + pd.to_timedelta(7 * rows["h"], unit="D"),
)
FORECAST_RULE: tuple[str, Rule] = (
    "either y_hat or error is set",
    lambda rows: rows["y_hat"].isna() == rows["error"].notna(),
)
STATUS_RULE: tuple[str, Rule] = (
    f"status is one of {', '.join(STATUSES)}",
    lambda rows: rows["status"].isin(STATUSES),
)
PROBLEM_RULE: tuple[str, Rule] = (
    "a row has an id and a time, or a problem",
    lambda rows: rows["problem"].notna() | (rows["unique_id"].notna() & rows["ds"].notna()),
)

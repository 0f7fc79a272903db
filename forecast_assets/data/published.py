"""Find the rows of a source that were known at a time, where it says when each was published."""

from datetime import datetime

import numpy as np
import pandas as pd

from forecast_assets.data.repeated_rows import row_keys


def has_publication_times(raw: pd.DataFrame) -> bool:
    """Tell whether rows of raw_data say when they were published."""
    return "published" in raw and bool(raw["published"].notna().any())


def rows_known_at(raw: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Return the rows of raw_data that were known at a time; all if none has a publication time.

    Of the rows of one series and time these are the ones that were published last until then. A
    quarantined row replaces none before it, and is kept if it has no publication time.
    """
    if not has_publication_times(raw):
        return raw
    is_unknown = raw["published"].isna() & raw["problem"].notna()
    known = raw[(raw["published"] <= pd.Timestamp(as_of)) | is_unknown]
    published = known["published"].astype("int64").set_axis(row_keys(known))
    of_valid = published.where(known["problem"].isna().to_numpy(), np.iinfo(np.int64).min)
    is_newest = (published >= of_valid.groupby(level=0).transform("max")).to_numpy()
    return known[is_newest | is_unknown[known.index]]

"""New rows put into those that were fetched before, by series and time."""

import pandas as pd

KEY = ["unique_id", "ds"]


def upserted(before: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Replace the rows of `before` whose series and time come again in `new`; keep the others.

    Both are raw_data. All rows of a key give way to all new ones of it. The earlier rows come
    first; each side keeps its order.
    """
    if before.empty or new.empty:
        return (before if new.empty else new).reset_index(drop=True)
    again = pd.MultiIndex.from_frame(before[KEY]).isin(pd.MultiIndex.from_frame(new[KEY]))
    return pd.concat([before[~again], new], ignore_index=True)

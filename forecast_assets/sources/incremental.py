"""New rows put into those that were fetched before, by series and time."""

import pandas as pd

KEY = ["unique_id", "ds"]


def upserted(before: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Replace the rows of `before` whose series and time come again in `new`; keep the others.

    But for those that were set aside: they may have been mended since.

    Both are raw_data. All rows of a key give way to all new ones of it. The earlier rows come
    first; each side keeps its order.
    """
    before = before[before["problem"].isna()] if "problem" in before else before
    if before.empty or new.empty:
        return (before if new.empty else new).reset_index(drop=True)
    again = pd.MultiIndex.from_frame(before[KEY]).isin(pd.MultiIndex.from_frame(new[KEY]))
    stays = before[~again]
    if all(isinstance(one["unique_id"].dtype, pd.CategoricalDtype) for one in (before, new)):
        every = before["unique_id"].cat.categories.union(new["unique_id"].cat.categories)
        stays, new = (
            one.assign(unique_id=one["unique_id"].cat.set_categories(every)) for one in (stays, new)
        )
    return pd.concat([stays, new], ignore_index=True)

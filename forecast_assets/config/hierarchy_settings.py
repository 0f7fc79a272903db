"""Define `[hierarchy]`: which series are the sum of others."""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from forecast_assets.config.source_settings import FrozenModel, Name

Children = Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]


class HierarchySettings(FrozenModel):
    """Parents by the parts of ids, by their names, and one of all series."""

    # Parts of the ids, joined by a slash; each level extends the one before.
    levels: tuple[Name, ...] = Field((), strict=False)
    parents: dict[Name, Children] = Field({})  # names or patterns of their children
    total: Name | None = None  # the parent of every series that has no other

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.levels) == 1:
            raise ValueError('`levels` needs at least two, such as ["region", "region/store"]')
        for above, level in pairwise(self.levels):
            if not level.startswith(f"{above}/"):
                raise ValueError(
                    f"each of the `levels` extends the one before, as region/store does region, but"
                    f" {level} does not extend {above}"
                )
        return self

    @property
    def is_set(self) -> bool:
        """Tell whether any series is the sum of others."""
        return bool(self.levels or self.parents or self.total)

"""Define `[compute]`: where models run, and the limits at which they are stopped."""

from typing import Any, Self

from pydantic import Field, model_validator

from forecast_assets.config.source_settings import FrozenModel


class ComputeSettings(FrozenModel):
    """Where models run, and the limits at which they are stopped."""

    workers: int = Field(0, ge=0, le=4096)  # of the local cluster; 0: one for each core
    dask_address: str | None = Field(None, pattern=r"^\w+://.+")
    cluster: dict[str, dict[str, Any]] = Field({}, max_length=1)
    fold_seconds: float = Field(60, gt=0, strict=False)  # for one fold of a local model
    model_seconds: float = Field(3600, gt=0, strict=False)  # for all folds of a model in one run
    memory_mb: float = Field(2048, gt=0, strict=False)  # for the process that a model runs in

    @property
    def is_local(self) -> bool:
        """Tell whether models run on this machine rather than in a cluster."""
        return not self.dask_address and not self.cluster

    @model_validator(mode="after")
    def _check_one_cluster(self) -> Self:
        if self.dask_address and self.cluster:
            raise ValueError("`dask_address` and `cluster` exclude each other: give one of them")
        return self

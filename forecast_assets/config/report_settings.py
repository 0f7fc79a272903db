"""Define `[report]`: where readers open the reports."""

import os

from pydantic import Field

from forecast_assets.config.source_settings import FrozenModel

# `make ui` serves the reports here, on the port after that of the UI.
LOCAL_URL = "http://127.0.0.1:3001"


class ReportSettings(FrozenModel):
    """Where a browser finds the folder `reports`."""

    url: str | None = Field(None, pattern=r"^https?://\S+$")  # None: where `make ui` serves them

    def link_to(self, file: str) -> str:
        """Return the address of a file, given by its path below `reports`."""
        base = self.url or os.environ.get("FORECAST_REPORTS_URL") or LOCAL_URL
        return f"{base.rstrip('/')}/{file}"

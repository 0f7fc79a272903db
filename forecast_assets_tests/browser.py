"""Headless Chromium: where it is, and how tests start it."""

import shutil

import pytest

CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str:
    """Debian's browser; the test fails where there is none."""
    found = shutil.which("chromium")
    if found is None:
        pytest.fail(
            "There is no `chromium` on the PATH, so nobody can see what a page shows. Install it:"
            " sudo apt-get install chromium"
        )
    return found

"""Headless Chromium: its path and the arguments that tests start it with."""

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
    """Return the path of Debian's browser; fail the test if there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail(
            "There is no `chromium` on the PATH, which the tests of pages need. Install it:"
            " sudo apt-get install chromium"
        )
    return path

"""A real Chromium without a window, for the tests of pages. As a command: whether there is one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

# What distributions call it, where Playwright's own cannot be had.
SYSTEMS = ("chromium", "chromium-browser", "google-chrome")


class NoBrowser(Exception):
    """There is none, or none that starts; the message says what was tried."""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = _start(playwright)
        try:
            yield browser
        finally:
            browser.close()


def _start(playwright: Playwright) -> Browser:
    faults = []
    for path in [None, *filter(None, map(shutil.which, SYSTEMS))]:
        try:
            return playwright.chromium.launch(executable_path=path)
        except Error as error:
            faults.append(f"{path or 'of Playwright'}: {error.message.splitlines()[0]}")
    raise NoBrowser("; ".join(faults))


def is_needed() -> bool:
    """Whether to do without would go unseen: where nobody looks at what was skipped."""
    return bool(os.environ.get("CI"))


if __name__ == "__main__":
    try:
        with chromium() as found:
            print("Chromium", found.version)
    except NoBrowser as none:
        sys.exit(str(none))

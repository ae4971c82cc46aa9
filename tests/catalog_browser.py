"""Headless Chromium for the catalog's tests: whatever it complains about fails the test."""

from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"


@contextmanager
def headless():
    """The browser; the test is skipped where there is none."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM} here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def windows(browser):
    """Opens windows; at the end there was no dialog, no error, no refusal of the content policy."""
    opened, complaints = [], []

    def note(tab, message):
        if "status of 401" not in message:  # what a wrong token is to be answered with
            complaints.append(f"{tab.url}: {message}")

    def open_window(width=1280, scripts=True, scheme="light"):
        window = browser.new_context(
            viewport={"width": width, "height": 800},
            java_script_enabled=scripts,
            color_scheme=scheme,
        )
        opened.append(window)
        tab = window.new_page()
        tab.on("console", lambda message: note(tab, message.text))
        tab.on("pageerror", lambda error: note(tab, str(error)))
        tab.on("dialog", lambda dialog: (note(tab, dialog.message), dialog.dismiss()))
        return tab

    yield open_window
    for window in opened:
        window.close()
    assert complaints == []

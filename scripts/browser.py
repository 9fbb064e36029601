"""Finds or installs the Chromium or Chrome of the browser tests. Standard library only, as dev.py uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (  # where browsers are on systems that do not put them on PATH
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "%ProgramFiles%/Google/Chrome/Application/chrome.exe",
    "%ProgramFiles(x86)%/Microsoft/Edge/Application/msedge.exe",
)


def find_browser() -> Path | None:
    """The browser to test with: CHROMIUM_PATH if set, else one on PATH, else one in a usual place; None if none."""
    given = os.environ.get("CHROMIUM_PATH")
    if given:
        return Path(given) if Path(given).is_file() else None
    on_path = [found for name in NAMES if (found := shutil.which(name))]
    return next((path for path in map(Path, [*on_path, *map(os.path.expandvars, PLACES)]) if path.is_file()), None)


def install_browser(python: Path) -> str | None:
    """Installs a browser: by apt for root on Debian, else, or if that fails, Playwright's own. None, or why it failed.

    `python` is a Python that has Playwright.
    """
    ways = [[[str(python), "-P", "-m", "playwright", "install", "chromium"]]]
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
        ways.insert(0, [["apt-get", "update"], install])
    failed = []
    for commands in ways:
        why = next(filter(None, map(_failure, commands)), None)
        if why is None:
            return None
        failed.append(why)
    return "\n".join(failed)


def _failure(command: list[str]) -> str | None:
    """Runs a command. None if it succeeds, else the command and the end of its output."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return "\n".join([f"{' '.join(command)} failed:", *(done.stdout + done.stderr).splitlines()[-5:]])

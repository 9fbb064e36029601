"""Links to folders, on every system. Standard library only, for `dev.py` runs before anything is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def link_folder(target: Path, link: Path) -> None:
    """Makes `link` lead to the folder `target`; one that leads elsewhere is replaced, a real folder is not."""
    if os.path.lexists(link):
        if os.path.realpath(link) == os.path.realpath(target):
            return
        link.unlink()
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        # Windows lets only administrators and developer mode make symlinks; a junction needs no right.
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(target)], check=True, stdout=subprocess.DEVNULL)


def link_pack(pack: Path, link: Path) -> None:
    """Makes `link` a folder with all that the node pack `pack` holds except hidden entries: folders are linked, files
    copied.

    A single link to the pack would make a circle: the server's own folder may lie in the pack's hidden .host.
    """
    if link.is_symlink():
        link.unlink()
    link.mkdir(exist_ok=True)
    for entry in pack.iterdir():
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            link_folder(entry, link / entry.name)
        else:
            shutil.copy2(entry, link / entry.name)

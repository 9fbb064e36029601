"""The editor's JavaScript: what does not use the DOM, in Node; and the icons that it takes from the frontend."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from dev import node_program
from host import ROOT

SCRIPTS = ROOT / "web" / "js"
FILES = sorted((ROOT / "tests" / "js").glob("*.test.js"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_in_node(path):
    command = node_program("node", "--test", str(path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_all_files_are_found():
    assert {path.name.split(".")[0] for path in FILES} == {"drawing", "frame", "shapes", "shortcuts", "tools"}


def test_the_frontend_has_the_icons():
    spec = importlib.util.find_spec("comfyui_frontend_package")
    folders = [Path(folder) / "static" / "assets" for folder in spec.submodule_search_locations]
    sheets = "".join(path.read_text("utf-8") for folder in folders for path in folder.glob("*.css"))
    icons = {icon for path in SCRIPTS.rglob("*.js") for icon in re.findall(r"\bpi-[a-z-]+", path.read_text("utf-8"))}
    assert len(icons) >= 15
    assert [icon for icon in sorted(icons) if f".{icon}:before" not in sheets] == []

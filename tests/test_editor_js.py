"""What of the editor's JavaScript knows nothing of the page, in Node."""

import subprocess

import pytest
from dev import node_program
from host import ROOT

FILES = sorted((ROOT / "tests" / "js").glob("*.test.js"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_in_node(path):
    command = node_program("node", "--test", str(path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_there_are_some():
    assert len(FILES) == 2

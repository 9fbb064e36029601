"""The help pages: each is whole, true to the node's inputs and outputs, and has a picture that the server gives out."""

import ast
import io
import re
import urllib.parse

import pytest
from host import ROOT, boot
from make_help_pictures import CHECKPOINT, PICTURES
from PIL import Image

NODES = boot().NODE_CLASS_MAPPINGS
DOCS = ROOT / "web" / "docs"
PAGES = {node: (DOCS / f"{node}.md").read_text("utf-8") for node in NODES}
SHARED = {"MaskGridNKSamplersAdvanced": "MaskGrid N KSamplers Advanced"}  # the old id has the picture of the new one
SOURCES = [path for folder in ("nodes", "regional", "samplers", "masks") for path in (ROOT / folder).rglob("*.py")]


def words(text):
    """The names in a list of them: in code, in bold or plain, parted by commas; a1 to a3 is a1, a2, a3."""
    found = []
    for part in re.sub(r"[`*]", "", text).split(","):
        first, _, last = part.strip().partition(" to ")
        stem = re.sub(r"\d+$", "", first)
        if last:
            found += [f"{stem}{i}" for i in range(int(first[len(stem) :]), int(last[len(stem) :]) + 1)]
        else:
            found.append(first)
    return found


def described_inputs(page):
    """The names in front of the list of inputs."""
    listed = re.search(r"^## Inputs\n\n((?:- .*\n(?:  .*\n)*)+)", page, re.MULTILINE)
    return [name for one in re.findall(r"^- (.*?):", listed[1] if listed else "", re.MULTILINE) for name in words(one)]


def pictures(page):
    return re.findall(r"!\[(.*?)\]\((.*?)\)", page)


@pytest.mark.parametrize("node", NODES)
def test_inputs(node):
    declared = NODES[node].INPUT_TYPES()
    names = [*declared.get("required", {}), *declared.get("optional", {})]
    assert sorted(described_inputs(PAGES[node])) == sorted(names)


@pytest.mark.parametrize("node", NODES)
def test_outputs(node):
    (said,) = re.findall(r"^(?:\*\*Outputs?\*\*:|## Outputs\n)(.*?)(?=\n\n[^-\n]|\Z)", PAGES[node], re.M | re.S) or [
        re.search(r"\*\*Output\*\*:.*", PAGES[node])[0]
    ]
    cls = NODES[node]
    names = getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)
    assert [name for name in names if name.lower() not in said.lower()] == []


@pytest.mark.parametrize("node", NODES)
def test_parts(node):
    title, what, *parts = PAGES[node].split("\n\n")
    assert title.startswith("# ") and what.endswith(".")
    assert any(part.startswith("![") for part in parts[:2]), "the picture stands near the top"
    assert len(re.findall("^## What goes wrong$", PAGES[node], re.MULTILINE)) == 1
    assert parts[-1].strip()
    if node not in ("RegionEditor", *SHARED):
        assert "**Use it**" in PAGES[node]


@pytest.mark.parametrize("node", NODES)
def test_picture(node):
    ((alt, address),) = pictures(PAGES[node])
    assert address == f"img/{SHARED.get(node, node).replace(' ', '')}.webp"
    assert len(alt) > 30 and '"' not in alt  # the frontend puts it into an attribute as it is
    path = DOCS / address
    assert path.stat().st_size < 60_000
    with Image.open(path) as picture:
        assert picture.format == "WEBP" and 300 < picture.width <= 900 and picture.height <= 900


def test_no_picture_without_a_page():
    shown = {address for page in PAGES.values() for _, address in pictures(page)}
    assert {f"img/{path.name}" for path in (DOCS / "img").iterdir()} == shown
    assert {SHARED.get(node, node) for node in NODES} == PICTURES.keys()


def test_pictures_come_from_examples():
    for node, of in PICTURES.items():
        if example := getattr(of, "example", None):
            text = (ROOT / "example_workflows" / f"{example}.json").read_text("utf-8")
            assert f'"type": "{node}"' in text and f'"{CHECKPOINT}"' in text, node


VALUE = "\0"


def tokens(text):
    """Words without the signs around them; a word with a value in it is a VALUE."""
    words = (VALUE if VALUE in word else word.strip(" ,;:.()").lower() for word in text.split())
    return [word for word in words if word]


def messages():
    """The words of every text in the code."""
    for path in SOURCES:
        for one in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(one, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else VALUE for part in one.values]
                yield tokens("".join(parts))
            elif isinstance(one, ast.Constant) and isinstance(one.value, str):
                yield tokens(re.sub(r"%\.?\d*[dsg]", VALUE, one.value))


def says(message, piece):
    """Whether these words can stand in the message; a VALUE there is one to four words, and not most of them."""

    def own(at, words):
        """How many of the words are the message's own from `at` on; -inf if they are not in it."""
        if not words:
            return 0
        if at == len(message):
            return float("-inf")
        if message[at] == VALUE:
            return max(own(at + 1, words[taken:]) for taken in range(1, 5) if taken <= len(words))
        return 1 + own(at + 1, words[1:]) if message[at] == words[0] else float("-inf")

    return any(own(at, piece) > len(piece) / 2 for at in range(len(message)))


def test_quoted_messages_are_the_codes():
    said = list(messages())
    for node, page in PAGES.items():
        wrong = " ".join(page.partition("## What goes wrong")[2].split())
        for quote in re.findall(r"(?<![*\w])\*([^*]+)\*(?!\*)", wrong):
            # Dots stand for a value, and so do a B, W or H.
            for piece in map(tokens, re.split(r"\.{2,3}|\b[A-Z]\b", quote)):
                assert len(piece) < 2 or any(says(message, piece) for message in said), f"{node}: {quote}"


def test_server_gives_pages_and_pictures(server):
    """As the frontend asks: both lie under docs/, and it puts that in front of a picture's address."""
    info = server.get("/object_info")
    for node, page in PAGES.items():
        folder = info[node]["python_module"].removeprefix("custom_nodes.")
        docs = f"/extensions/{folder}/docs"
        assert server.get(f"{docs}/{urllib.parse.quote(node)}.md").decode() == page
        ((_, address),) = pictures(page)
        with Image.open(io.BytesIO(server.get(f"{docs}/{address}"))) as picture:
            assert picture.format == "WEBP"

"""The pack in other languages: complete against a real server's /object_info and web/js; nodes in the real frontend."""

import itertools
import json
import re

import make_locales
import pytest
from host import ROOT
from make_locales import INPUT_ID, SCRIPTS, english, leaves, problems, said, stem, tables, translated

pytest_plugins = ["browser_use"]

TITLE = 30  # LiteGraph.NODE_TITLE_HEIGHT, above a node's place
LANGUAGES = ["es", "fr", "ja", "ko", "ru", "zh", "zh-TW"]  # those of the host that the pack has, beside English

# What no language translates: colours, numbers, names with capitals inside (MASK, RegionalPrompt; LoRA of LoRAs), and
# words that are what one chooses or looks for.
KEPT = re.compile(
    r"#\w+|(?<![\w.])\d+(?:\.\d+)?(?!\w)|\b\w+[A-Z]\w*?(?=s?\b)|\b(?i:lockstep|stepwise|sigma|cfg|euler|auto|Flux)\b"
)


@pytest.fixture(scope="module")
def info(browser_server):
    return browser_server.get("/object_info")


PLACEHOLDER = re.compile(r"\{\w+\}")
# In JavaScript, outside of say(): what starts as a sentence does, or is given to what is shown.
UNSAID = re.compile(
    r"""(?<!say\()["`][A-Z][a-z]+[ :][^"`]*["`]"""
    r"""|\b(?:title|textContent|placeholder|ariaLabel|summary|detail): ["`]\w[^"`]*["`]"""
)


@pytest.fixture(scope="module")
def everything(info):
    return english(info)


@pytest.fixture(scope="module")
def defs(everything):
    return everything["nodeDefs"]


def saved(language, name="nodeDefs"):
    return json.loads((ROOT / "locales" / language / f"{name}.json").read_text("utf-8"))


def saved_words(language):
    return saved(language, "main")["regionalSampling"]


def test_languages():
    assert sorted(tables()) == LANGUAGES
    assert sorted(path.name for path in (ROOT / "locales").iterdir()) == sorted(["en", *LANGUAGES])


def test_english_is_what_the_nodes_and_scripts_say(everything, defs, pack):
    assert set(defs) == set(pack.NODE_CLASS_MAPPINGS)
    again = "run .venv/bin/python scripts/make_locales.py, and translate what it names"
    assert {name: saved("en", name) for name in everything} == everything, again
    for kind, node in pack.NODE_CLASS_MAPPINGS.items():
        declared = node.INPUT_TYPES()
        names = {name for group in ("required", "optional") for name in declared.get(group, {})}
        assert set(defs[kind].get("inputs", {})) - {"control_after_generate"} == names
        assert len(defs[kind]["outputs"]) == len(node.RETURN_TYPES)
    for path, text in leaves(defs):
        assert text.strip(), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(everything, language):
    table = tables()[language]
    assert problems(everything, table) == []
    mine = {name: saved(language, name) for name in everything}
    assert mine == translated(everything, table), "run .venv/bin/python scripts/make_locales.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_differ_from_english(defs, language):
    """Names may be the same in two languages (cfg); tooltips and descriptions are sentences."""
    mine = dict(leaves(saved(language)))
    same = [text for path, text in leaves(defs) if path[-1] in ("tooltip", "description") and mine[path] == text]
    assert same == []
    assert [text for path, text in leaves(defs) if "_" in text and mine[path] == text] == []
    assert [text for text, own in saved_words(language).items() if " " in text and own == text] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_stay_apart(language):
    """Nodes in the menu, inputs on a node."""
    nodes = saved(language).values()
    for names in (
        [node["display_name"] for node in nodes],
        *([one["name"] for one in node.get("inputs", {}).values()] for node in nodes),
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_chosen_by_name_is_named(info, defs, language):
    """Numbers, samplers, node ids and an input's values stay as they are; other inputs are called by their labels."""
    table, mine = tables()[language], dict(leaves(saved(language)))
    lost = []
    for path, text in leaves(defs):
        if path[-1] not in ("tooltip", "description"):
            continue
        wanted = set(KEPT.findall(text)) | {f"{value}:" for value in values(info, path) if f"{value}:" in text}
        wanted |= {table.get(name, name) for name in INPUT_ID.findall(text)}
        plain = mine[path].replace(" :", ":").replace("\uff1a", ":").replace("\N{NO-BREAK SPACE}:", ":").lower()
        lost += [(path, word) for word in wanted if word.lower() not in plain]
    assert lost == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_keep_their_values_and_keys(language):
    """What is filled in, and the keys to press: (Ctrl+Z), Alt."""
    for text, own in saved_words(language).items():
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(own)), text
        for key in re.findall(r"\([\w+]+\)$|\bAlt\b", text):
            assert key in own, text


def test_all_that_scripts_show_is_said():
    for path in SCRIPTS.rglob("*.js"):
        lines = path.read_text("utf-8").splitlines()
        code = [line for line in lines if not line.strip().startswith(("//", "*", "/*"))]
        assert [line for line in code if UNSAID.search(line)] == [], path.name


def test_what_scripts_say_is_found():
    script = (
        'export function say(text) {}\nsay("One {a}", { a });\nsay(\n  "Two \\"quoted\\""), say("One {a}"); essay(x)'
    )
    assert said({"a.js": script}) == ["One {a}", 'Two "quoted"']
    for wrong in ("say(text)", "say('one')", "say(`one ${a}`)"):
        with pytest.raises(ValueError, match=r"^a\.js, line 2: say\(\) takes"):
            said({"a.js": f"\n{wrong}"})
    for unsaid in ('title: "Name"', 'throw new Error("No regions yet.")', "textContent: `No ${a}`", 'f("Undo (Z)")'):
        assert UNSAID.search(unsaid), unsaid


def values(info, path):
    """The values of the combo input that `path` belongs to."""
    kind, part, name, *_ = (*path, "", "")
    if part != "inputs":
        return []
    declared = info[kind]["input"]
    choices = {**declared.get("required", {}), **declared.get("optional", {})}.get(name, [None])[0]
    return choices if isinstance(choices, list) else []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_nothing_in_them_is_syntax_to_the_frontend(language):
    """vue-i18n reads @, { and } as references, and | as what parts singular from plural."""
    read = {**saved(language), **saved(language, "main")["nodeCategories"]}
    assert [text for _, text in leaves(read) if re.search(r"[@{}|]", text)] == []


def test_served(browser_server):
    served = browser_server.get("/i18n")
    for language in ["en", *LANGUAGES]:
        assert saved(language).items() <= served[language]["nodeDefs"].items()
        for room, texts in saved(language, "main").items():
            assert texts.items() <= served[language][room].items()


def test_what_is_missing_left_over_or_renamed_is_found():
    defs = {"Node": {"display_name": "Node", "inputs": {"a_b2": {"name": "a_b2", "tooltip": "Uses a_b, a_b+a_b."}}}}
    table = {"Node": "Knoten", "a_b": "A B", "Uses a_b, a_b+a_b.": "\u7528a_b, a_b+a_b."}
    assert problems(defs, table) == []
    assert translated(defs, table) == {
        "Node": {"display_name": "Knoten", "inputs": {"a_b2": {"name": "A B 2", "tooltip": "\u7528A B, A B+a_b."}}}
    }
    defs["Node"]["inputs"] = {"c": {"name": "c", "tooltip": "New."}}
    assert problems(defs, table) == ["missing: c", "missing: New.", "left over: a_b", "left over: Uses a_b, a_b+a_b."]
    assert stem("seed_2nd") == "seed_2nd" and make_locales.NUMBERED.fullmatch("a1")


@pytest.fixture(params=["zh", "fr"])
def language(request, browser_server):
    browser_server.post("/settings", {"Comfy.Locale": request.param})
    yield request.param
    browser_server.post("/settings", {"Comfy.Locale": "en"})


def test_shown(language, open_page, browser_server):
    """Title, an input's name and its tooltip, of a node and of the one with spaces in its id."""
    frontend = open_page(browser_server, False)
    frontend.name = f"test_locales-{language}"
    mine = saved(language)
    for kind, name in (("RegionalGuider", "negative"), ("MaskGrid N KSamplers Advanced", "latent_image")):
        frontend.empty()
        node = frontend.add(kind, 200, 100)
        code = """([node, name]) => {
            const { title, inputs } = app.canvas.graph.getNodeById(node);
            const slot = inputs.findIndex((input) => input.name === name);
            return [title, inputs[slot].localized_name, slot];
        }"""
        title, label, slot = frontend.js(code, [node, name])
        own = mine[kind]["inputs"][name]
        assert (title, label) == (mine[kind]["display_name"], own["name"])
        frontend.settle()
        frontend.page.mouse.move(5, 5)
        frontend.page.mouse.move(*frontend.place(node, slot), steps=3)
        assert frontend.page.wait_for_selector(".node-tooltip").inner_text() == own["tooltip"]
        frontend.screenshot(name)
    frontend.check_console()


def test_long_labels_leave_room_in_the_examples(open_page, browser_server):
    """A node is as wide as its labels, and Russian has the longest: no node grows over its neighbour."""
    browser_server.post("/settings", {"Comfy.Locale": "ru"})
    try:
        frontend = open_page(browser_server, False)
    finally:
        browser_server.post("/settings", {"Comfy.Locale": "en"})
    for path in sorted((ROOT / "example_workflows").glob("*.json")):
        frontend.load(json.loads(path.read_text("utf-8")))
        boxes = frontend.js("() => app.graph.nodes.map(({ title, pos, size }) => [title, ...pos, ...size])")
        for (one, x, y, width, height), (other, *place) in itertools.combinations(boxes, 2):
            left, top, wide, high = place
            beside = x + width <= left or left + wide <= x
            above = y + height <= top - TITLE or top + high <= y - TITLE
            assert beside or above, (path.stem, one, other)

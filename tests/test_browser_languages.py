"""What web/js shows, in the language of the settings."""

import json

import pytest
from host import ROOT

pytest_plugins = ["browser_use"]

TOOLS = {"rect": "Draw a rectangle (R)", "undo": "Undo (Ctrl+Z)", "remove": "Remove (Delete)"}
PROMPT = "Prompt: what this region shows"
DRAWING = {"version": 1, "regions": [{"shape": {"type": "rect", "x": 0.1, "y": 0.1, "w": 0.5, "h": 0.5}}]}


def saved(language, name="main"):
    return json.loads((ROOT / "locales" / language / f"{name}.json").read_text("utf-8"))


@pytest.fixture
def open_in(open_page, browser_server, request):
    """`open_in(language, nodes2=False)`: a page in this language. The server's other pages stay in English."""

    def open_in(language, nodes2=False):
        browser_server.post("/settings", {"Comfy.Locale": language})
        frontend = open_page(browser_server, nodes2)
        frontend.name = request.node.name.replace("[", "-").strip("]")
        frontend.empty()
        return frontend

    yield open_in
    browser_server.post("/settings", {"Comfy.Locale": "en"})


def shown(frontend, node):
    """The titles of the tools, the placeholder and the name of a first region, and what a broken drawing says."""
    code = """async ([id, drawing, tools]) => {
        const frame = () => new Promise(requestAnimationFrame);
        const node = app.canvas.graph.getNodeById(id);
        const widget = node.widgets.find(({ name }) => name === "regions");
        const of = (selector) => widget.element.querySelector(selector);
        widget.value = "[]";
        await frame();
        const message = of(".message p").textContent;
        widget.value = JSON.stringify(drawing);
        await frame();
        const titles = tools.map((icon) => [icon, of(`.tools [data-icon=${icon}]`).title]);
        const { placeholder } = of("textarea");
        return { titles: Object.fromEntries(titles), placeholder, name: of("input.name").value, message };
    }"""
    return frontend.js(code, [node, DRAWING, list(TOOLS)])


def expected(say):
    return {
        "titles": {icon: say(text) for icon, text in TOOLS.items()},
        "placeholder": say(PROMPT),
        "name": say("Region {count}").replace("{count}", "1"),
        "message": f"{say('The drawing is not an object.')} {say('It is kept as it is.')}",
    }


def title(frontend, node):
    return frontend.js("(id) => app.canvas.graph.getNodeById(id).title", node)


@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "nodes2"])
def test_japanese(open_in, nodes2):
    frontend = open_in("ja", nodes2)
    node = frontend.add("RegionEditor")
    words = saved("ja")["regionalSampling"]
    assert words[PROMPT] != PROMPT
    assert shown(frontend, node) == expected(words.__getitem__)
    assert title(frontend, node) == saved("ja", "nodeDefs")["RegionEditor"]["display_name"]
    frontend.center(500, 450, 0.8)
    frontend.page.get_by_placeholder(words[PROMPT]).click()
    frontend.screenshot()
    # The menu is translated, and the pack still knows its nodes.
    category = frontend.js("() => LiteGraph.registered_node_types.RegionEditor.category")
    assert category == saved("ja")["nodeCategories"]["regional sampling"]
    assert list(frontend.inputs(frontend.add("CombineRegionalPrompts"))) == ["regional_prompts1"]
    frontend.check_console()


@pytest.mark.parametrize("language", ["pt-BR", "xx"])  # one of the host's that the pack has not, and none at all
def test_english_in_place_of_others(open_in, language):
    frontend = open_in(language)
    assert shown(frontend, frontend.add("RegionEditor")) == expected(str)
    if language == "pt-BR":  # of the other the host itself complains, and goes on in English
        frontend.check_console()


def change(frontend, language, node):
    """In the settings: the host makes all nodes anew, and does not load the page again."""
    frontend.load(frontend.save())  # it forgets what a script has added
    frontend.js("(id) => (app.canvas.graph.getNodeById(id).isOld = true)", node)
    frontend.setting("Comfy.Locale", language)
    # Its own labels may stay in the language before: it does not wait for those of the new one.
    code = "(id) => [app.canvas.graph.getNodeById(id)].some((node) => node && !node.isOld)"
    frontend.page.wait_for_function(code, arg=node)
    frontend.settle()


def test_changed_in_the_settings(open_in):
    frontend = open_in("en")
    node = frontend.add("RegionEditor")
    assert shown(frontend, node) == expected(str)
    change(frontend, "fr", node)
    assert shown(frontend, node) == expected(saved("fr")["regionalSampling"].__getitem__)
    assert list(frontend.inputs(frontend.add("CombineRegionalPrompts"))) == ["regional_prompts1"]
    frontend.check_console()


def test_english_where_the_words_do_not_come(open_in):
    frontend = open_in("en")
    node = frontend.add("RegionEditor")
    frontend.page.route("**/i18n", lambda route: route.fulfill(json=None))
    with frontend.page.expect_request("**/i18n"):
        change(frontend, "fr", node)
    assert shown(frontend, node) == expected(str)
    frontend.check_console()

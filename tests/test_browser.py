"""The frontend's side of the pack, in a real browser: on the classic canvas and in Nodes 2.0."""

import pytest

pytest_plugins = ["browser_use"]
pytestmark = pytest.mark.server

COMBINE = "CombineRegionalPrompts"
LIMIT = 32


def names(count):
    return [f"regional_prompts{number}" for number in range(1, count + 1)]


def combined(frontend, links):
    """A CombineRegionalPrompts with this many links; returns its id and those of what it is linked to, in order."""
    node = frontend.add(COMBINE, 400, 0)
    sources = [frontend.add("RegionalPrompt", 0, 220 * number) for number in range(links)]
    for name, source in zip(names(links), sources, strict=True):
        frontend.connect(source, node, name)
    return node, sources


def shown(sources, limit=LIMIT):
    """The inputs of a node with these links: one more than there are, up to the limit."""
    return dict(zip(names(max(min(len(sources) + 1, limit), len(sources))), [*sources, None], strict=False))


def test_slots_grow_with_links_and_shrink_without(frontend):
    node = frontend.add(COMBINE, 400, 0)
    assert frontend.inputs(node) == shown([])
    size = frontend.size(node)
    sources = []
    for number in range(1, LIMIT + 1):
        sources.append(frontend.add("RegionalPrompt", 0, 20 * number))
        frontend.connect(sources[-1], node, f"regional_prompts{number}")
        assert frontend.inputs(node) == shown(sources)
    assert len(frontend.inputs(node)) == LIMIT  # and none more
    full = frontend.size(node)
    frontend.screenshot("full")
    frontend.disconnect(node, "regional_prompts2")
    del sources[1]
    assert frontend.inputs(node) == shown(sources)
    for source in sources[3:]:
        frontend.js("(id) => app.graph.remove(app.graph.getNodeById(id))", source)
    assert frontend.inputs(node) == shown(sources[:3])
    # As tall as its inputs are many, of which there was one more at each step but the last.
    row = (full[1] - size[1]) / (LIMIT - 1)
    assert row > 10 and frontend.size(node) == pytest.approx([size[0], size[1] + 3 * row], abs=1)


def test_by_mouse_and_undo(frontend):
    node, sources = combined(frontend, 1)
    sources.append(frontend.add("RegionalPrompt", 0, 220))
    frontend.settle()
    frontend.drag(frontend.place(sources[1], 0, output=True), frontend.place(node, 1))
    assert frontend.inputs(node) == shown(sources)
    frontend.screenshot("two")
    frontend.drag(frontend.place(node, 0), (1200, 400))  # off, and dropped where nothing is
    assert frontend.inputs(node) == shown(sources[1:])
    frontend.screenshot("one")
    for _ in range(2):
        frontend.page.keyboard.press("Control+z")
        frontend.settle()
        assert frontend.inputs(node) == shown(sources)
        frontend.page.keyboard.press("Control+y")
        frontend.settle()
        assert frontend.inputs(node) == shown(sources[1:])
    frontend.page.keyboard.press("Control+z")
    frontend.settle()
    # Another one takes the place of the first.
    third = frontend.add("RegionalPrompt", 0, 440)
    frontend.settle()
    frontend.drag(frontend.place(third, 0, output=True), frontend.place(node, 0))
    assert frontend.inputs(node) == shown([third, sources[1]])


def test_save_load_copy(frontend):
    node, sources = combined(frontend, 3)
    size = [frontend.size(node)[0] + 40, frontend.size(node)[1] + 100]  # as a person may have dragged it
    frontend.js("([node, size]) => app.graph.getNodeById(node).setSize(size)", [node, size])
    frontend.settle()
    saved = frontend.save()
    frontend.load({**saved, "nodes": [], "links": []})
    frontend.load(saved)
    assert frontend.inputs(node) == shown(sources)
    assert frontend.size(node) == pytest.approx(size, abs=1)
    assert not frontend.js("() => app.extensionManager.workflow.activeWorkflow.isModified")

    frontend.select(node, *sources)
    frontend.page.keyboard.press("Control+c")
    frontend.page.keyboard.press("Control+v")
    frontend.settle()
    old, copy = frontend.nodes(COMBINE)
    assert old == node and frontend.inputs(node) == shown(sources)
    assert frontend.inputs(copy) == shown(frontend.nodes("RegionalPrompt")[3:])
    frontend.page.keyboard.press("Control+z")  # one step
    frontend.settle()
    assert frontend.nodes(COMBINE) == [node] and frontend.inputs(node) == shown(sources)

    frontend.select(node)
    frontend.page.keyboard.press("Control+c")
    frontend.page.keyboard.press("Control+v")
    frontend.settle()
    assert frontend.inputs(frontend.nodes(COMBINE)[1]) == shown([])


@pytest.mark.parametrize("inside", [["sources", "node"], ["node"], ["sources"]], ids="+".join)
def test_subgraphs(frontend, inside):
    node, sources = combined(frontend, 3)
    frontend.select(*([node] if "node" in inside else []), *(sources if "sources" in inside else []))
    frontend.command("Comfy.Graph.ConvertToSubgraph")
    (subgraph,) = frontend.js("() => app.graph.nodes.filter((node) => node.subgraph).map(({ id }) => Number(id))")

    def check():
        if "node" in inside:
            frontend.enter(subgraph)
        (found,) = frontend.nodes(COMBINE)
        came = frontend.inputs(found)
        assert list(came) == names(4)
        assert [value is None for value in came.values()] == [False, False, False, True]
        frontend.screenshot("inside")
        frontend.leave()

    check()
    frontend.load(frontend.save())
    check()
    frontend.select(subgraph)
    frontend.command("Comfy.Graph.UnpackSubgraph")
    (node,) = frontend.nodes(COMBINE)
    came = frontend.inputs(node)
    assert list(came) == names(4)
    heights = "(ids) => ids.map((id) => app.graph.getNodeById(id).pos[1])"
    tops = frontend.js(heights, list(came.values())[:3])
    assert tops == sorted(tops)  # still in the order in which they were

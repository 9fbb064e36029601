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
    sources = [frontend.add("RegionalPrompt", 0, 250 * number) for number in range(links)]
    for name, source in zip(names(links), sources, strict=True):
        frontend.connect(source, node, name)
    return node, sources


def expected(sources, limit=LIMIT):
    return dict(zip(names(min(len(sources) + 1, max(limit, len(sources)))), [*sources, None], strict=False))


def test_slots_grow_with_links_and_shrink_without(frontend):
    node = frontend.add(COMBINE, 400, 0)
    assert frontend.inputs(node) == {"regional_prompts1": None}
    sources = []
    for number in range(1, LIMIT + 1):
        sources.append(frontend.add("RegionalPrompt", 0, 20 * number))
        frontend.connect(sources[-1], node, f"regional_prompts{number}")
        assert frontend.inputs(node) == expected(sources)
    assert len(frontend.inputs(node)) == LIMIT  # and none more
    frontend.screenshot("full")
    frontend.disconnect(node, "regional_prompts2")
    del sources[1]
    assert frontend.inputs(node) == expected(sources)
    for source in sources[3:]:
        frontend.js("(id) => app.graph.remove(app.graph.getNodeById(id))", source)
    assert frontend.inputs(node) == expected(sources[:3])

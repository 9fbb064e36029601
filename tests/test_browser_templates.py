"""The templates in the browser: each opens whole, on both canvases, and no node lies on another or on a frame."""

import pytest
from dev import PACKS
from host import ROOT

pytest_plugins = ["browser_use"]

PACK = next(name for name, folder in PACKS.items() if folder == ROOT)
STEMS = sorted(path.stem for path in (ROOT / "example_workflows").glob("*.json"))
# Nodes without a type, pairs of nodes that lie on each other (with their title bars), nodes that are partly in a group,
# and how many nodes there are.
LOOK = """() => {
    const nodes = app.graph.nodes, on = [];
    const box = ({ pos, size, type }) => [pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]];
    for (const [i, a] of nodes.entries()) {
        for (const b of nodes.slice(i + 1)) {
            const [p, q] = [box(a), box(b)];
            const x = Math.min(p[2], q[2]) - Math.max(p[0], q[0]), y = Math.min(p[3], q[3]) - Math.max(p[1], q[1]);
            if (x > 0 && y > 0) on.push(`${a.title} on ${b.title}: ${Math.round(x)} x ${Math.round(y)}`);
        }
    }
    const out = [];
    for (const node of nodes) {
        const p = box(node);
        for (const { title, pos, size } of app.graph.groups) {
            const q = [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]];
            const apart = p[2] <= q[0] || q[2] <= p[0] || p[3] <= q[1] || q[3] <= p[1];
            const inside = q[0] <= p[0] && q[1] <= p[1] && p[2] <= q[2] && p[3] <= q[3];
            if (!apart && !inside) out.push(`${node.title} (${p}) and ${title} (${q})`);
        }
    }
    const missing = nodes.filter(({ type }) => !LiteGraph.registered_node_types[type]).map(({ type }) => type);
    return { missing, on, out, count: nodes.length };
}"""


@pytest.mark.parametrize("stem", STEMS)
def test_opens(frontend, stem):
    workflow = frontend.server.get(f"/api/workflow_templates/{PACK}/{stem}.json")
    frontend.load(workflow)
    frontend.command("Comfy.Canvas.FitView")
    frontend.page.wait_for_timeout(400)  # it moves there, and Nodes 2.0 measures
    seen = frontend.js(LOOK)
    assert seen["missing"] == [] and seen["count"] == len(workflow["nodes"])
    assert seen["on"] == [] and seen["out"] == []
    sent = frontend.js("async () => (await app.graphToPrompt()).output")
    muted = 2
    assert len(sent) == sum(node["type"] != "MarkdownNote" and node["mode"] != muted for node in workflow["nodes"])


def test_they_are_among_the_templates(frontend):
    frontend.command("Comfy.BrowseTemplates")
    dialog = frontend.page.get_by_role("dialog")
    dialog.get_by_text(PACK, exact=True).first.click()
    for stem in ("from_impact_pack", "two_loras"):
        dialog.get_by_text(stem, exact=True).first.wait_for()
    frontend.screenshot("dialog")
    frontend.page.keyboard.press("Escape")

"""The pack's JavaScript beside other packs' and beside a second copy of itself, in a real browser."""

import pytest
from dev import PACKS
from host import ROOT

pytest_plugins = ["browser_use"]

PACK = next(name for name, folder in PACKS.items() if folder == ROOT)
COMBINE = "CombineRegionalPrompts"


@pytest.fixture
def page(open_page, browser_server):
    """A page of its own, since what is registered there stays."""
    return open_page(browser_server, nodes2=False)


def test_second_copy(open_page, new_server, tmp_path):
    """A clear message, once, and all works as with one."""
    copy = f"{PACK}-2"
    with new_server(tmp_path, {**PACKS, copy: ROOT}) as server:
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        frontend = open_page(server, nodes2=False)
        frontend.name = "test_second_copy"
        toast = frontend.page.get_by_role("alert").filter(has_text="installed twice")
        toast.wait_for()
        frontend.screenshot()
        assert toast.count() == 1
        assert all(f"custom_nodes/{folder} " in f"{toast.inner_text()} ".replace(".", " ") for folder in (PACK, copy))
        frontend.empty()
        node = frontend.add(COMBINE)
        assert list(frontend.inputs(node)) == ["regional_prompts1"]
        frontend.connect(frontend.add("RegionalPrompt"), node, "regional_prompts1")
        assert list(frontend.inputs(node)) == ["regional_prompts1", "regional_prompts2"]
        frontend.check_console()


def test_nodes_of_another_pack_are_left_alone(page):
    """The class ids are other packs' too."""
    code = """async (kind) => {
        const { [kind]: def } = await (await fetch("/object_info/" + kind)).json();
        await app.registerNodeDef(kind, { ...def, python_module: "custom_nodes.another" });
    }"""
    page.js(code, COMBINE)
    page.empty()
    assert len(page.inputs(page.add(COMBINE))) == 32
    page.check_console()


def test_beside_another_pack_that_grows_the_same_node(page):
    """Some do so by class id, whoever provides the node."""
    code = """(kind) => app.registerExtension({
        name: "another pack",
        nodeCreated(node) {
            if (node.comfyClass !== kind) return;
            const own = node.onConnectionsChange;
            node.onConnectionsChange = function (side, slot, connected) {
                own?.apply(this, arguments);
                if (side !== LiteGraph.INPUT || app.configuringGraph) return;
                if (!connected && this.inputs.length > 1) this.removeInput(slot);
                this.inputs.forEach((input, index) => (input.name = `regional_prompts${index + 1}`));
                if (this.inputs.at(-1).link != null) {
                    this.addInput(`regional_prompts${this.inputs.length + 1}`, "REGIONAL_PROMPTS");
                }
            };
        },
    })"""
    page.js(code, COMBINE)
    page.empty()
    node, sources = page.add(COMBINE), [page.add("RegionalPrompt") for _ in range(3)]
    for number, source in enumerate(sources, 1):
        page.connect(source, node, f"regional_prompts{number}")
        assert [*page.inputs(node).values()] == [*sources[:number], None]
    page.disconnect(node, "regional_prompts2")
    assert page.inputs(node) == {
        "regional_prompts1": sources[0],
        "regional_prompts2": sources[2],
        "regional_prompts3": None,
    }
    page.load(page.save())
    assert [*page.inputs(node).values()] == [sources[0], sources[2], None]
    page.check_console()


def test_no_prototype_is_patched(frontend):
    """The node types have on their prototypes what the host puts there."""
    code = "(kind) => Object.getOwnPropertyNames(LiteGraph.registered_node_types[kind].prototype).sort()"
    host = frontend.js(code, "KSampler")
    for kind in (COMBINE, "RegionalSampler", "RegionalPrompt"):
        assert frontend.js(code, kind) == host

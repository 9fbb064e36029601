"""The pack's JavaScript beside other packs' and beside a second copy of itself, in a real browser."""

import re

import pytest
from dev import PACKS
from host import ROOT
from neighbour_use import NEIGHBOUR, TAKEN

pytest_plugins = ["browser_use", "neighbour_use"]

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


def test_the_notice_says_whose_nodes_they_are(open_page, beside_neighbour):
    """Once in a session, whoever loads first."""
    frontend = open_page(beside_neighbour, nodes2=False)
    frontend.name = "test_the_notice"
    notice = frontend.page.get_by_role("alert").filter(has_text="RegionalGuider, RegionEditor")
    notice.wait_for()
    frontend.screenshot()
    assert notice.count() == 1
    text = notice.inner_text()
    assert f"those of {NEIGHBOUR}: " in text
    said = text.split(f"{NEIGHBOUR}: ")[1].split(".")[0]
    assert sorted(said.split(", ")) == sorted(TAKEN)
    frontend.page.reload()
    frontend.page.wait_for_function("() => window.app?.vueAppReady && app.extensionManager?.workflow.activeWorkflow")
    frontend.page.wait_for_timeout(1000)
    assert notice.count() == 0
    frontend.empty()
    assert len(frontend.inputs(frontend.add(COMBINE))) == 1  # the neighbour's, as it declares it
    frontend.check_console()


def test_alone_no_notice(page):
    page.page.wait_for_timeout(1000)
    assert page.page.get_by_role("alert").count() == 0


def test_the_shared_ids(page, pack):
    """Those that the notice knows are ours, and all but those that the docs call ours alone."""
    shared = page.js(
        """async (folder) => {
            const { SHARED } = await import(`/extensions/${folder}/js/neighbours.js`);
            return SHARED;
        }""",
        PACK,
    )
    text = (ROOT / "docs" / "migration.md").read_text("utf-8").split("## Saved workflows")[0]
    alone = set(re.findall(r"`(\w+)`", text.split("exist only in this pack")[1].split("\n\n")[0]))
    assert alone and alone | set(shared) == set(pack.NODE_CLASS_MAPPINGS) and not alone & set(shared)


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
    labels = "(node) => app.canvas.graph.getNodeById(node).inputs.map(({ localized_name }) => localized_name)"
    full = page.js(labels, node)
    assert len(set(full)) == 4
    page.disconnect(node, "regional_prompts2")
    assert page.inputs(node) == {
        "regional_prompts1": sources[0],
        "regional_prompts2": sources[2],
        "regional_prompts3": None,
    }
    # The labels follow the names, which that pack has given anew.
    assert page.js(labels, node) == full[:3]
    page.load(page.save())
    assert [*page.inputs(node).values()] == [sources[0], sources[2], None]
    page.check_console()


def test_no_prototype_is_patched(frontend):
    """The node types have on their prototypes what the host puts there."""
    code = "(kind) => Object.getOwnPropertyNames(LiteGraph.registered_node_types[kind].prototype).sort()"
    host = frontend.js(code, "KSampler")
    for kind in (COMBINE, "RegionalSampler", "RegionalPrompt"):
        assert frontend.js(code, kind) == host

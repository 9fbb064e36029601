"""The frontend's side of the pack, in a real browser: on the classic canvas and in Nodes 2.0."""

import pytest
from server_use import regional_sampler

pytest_plugins = ["browser_use"]

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
    prompts = [frontend.add("RegionalPrompt", 0, 220 * number) for number in range(4)]
    sources = []
    for number in range(1, LIMIT + 1):
        sources.append(prompts[(number - 1) % 4])
        frontend.connect(sources[-1], node, f"regional_prompts{number}")
        assert frontend.inputs(node) == shown(sources)
    assert len(frontend.inputs(node)) == LIMIT  # and none more
    full = frontend.size(node)
    frontend.screenshot("full")
    frontend.disconnect(node, "regional_prompts2")
    del sources[1]
    assert frontend.inputs(node) == shown(sources)
    for prompt in prompts[1:]:
        frontend.js("(id) => app.graph.remove(app.graph.getNodeById(id))", prompt)
    left = [source for source in sources if source == prompts[0]]
    assert frontend.inputs(node) == shown(left)
    # As tall as its inputs are many.
    row = (full[1] - size[1]) / (LIMIT - 1)
    assert row > 10 and frontend.size(node) == pytest.approx([size[0], size[1] + len(left) * row], abs=1)


def test_by_mouse_and_undo(frontend):
    node, sources = combined(frontend, 1)
    sources.append(frontend.add("RegionalPrompt", 0, 220))
    frontend.settle()
    frontend.drag(frontend.place(sources[1], 0, output=True), frontend.place(node, 1))
    assert frontend.inputs(node) == shown(sources)
    frontend.screenshot("two")
    before = frontend.steps()
    frontend.drag(frontend.place(node, 0), (1200, 400))  # off, and dropped where nothing is
    assert frontend.inputs(node) == shown(sources[1:])
    assert frontend.steps() == before + 1
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
    before = frontend.steps()
    frontend.select(subgraph)
    frontend.command("Comfy.Graph.UnpackSubgraph")
    assert frontend.steps() == before + 1
    (node,) = frontend.nodes(COMBINE)
    came = frontend.inputs(node)
    assert list(came) == names(4)
    heights = "(ids) => ids.map((id) => app.graph.getNodeById(id).pos[1])"
    tops = frontend.js(heights, list(came.values())[:3])
    assert tops == sorted(tops)  # still in the order in which they were


def test_slots_of_workflows_and_prompts_from_elsewhere(frontend):
    def workflow(numbers):
        """As another pack saves it: linked inputs of these numbers, and what free ones it likes."""
        inputs = [
            {"name": f"regional_prompts{i}", "type": "REGIONAL_PROMPTS", "link": i if i in numbers else None}
            for i in range(1, max(numbers) + 1)
        ]
        combine = {"id": 1000, "type": COMBINE, "pos": [400, 0], "size": [200, 20 * len(inputs)], "inputs": inputs}
        output = [{"name": "REGIONAL_PROMPTS", "type": "REGIONAL_PROMPTS", "links": []}]
        nodes = [{**combine, "outputs": output}]
        nodes += [
            {
                "id": i,
                "type": "RegionalPrompt",
                "pos": [0, 20 * i],
                "size": [200, 100],
                "outputs": [{**output[0], "links": [i]}],
            }
            for i in numbers
        ]
        links = [[i, i, 0, 1000, i - 1, "REGIONAL_PROMPTS"] for i in numbers]
        return {"last_node_id": 1000, "last_link_id": 1000, "nodes": nodes, "links": links, "version": 0.4}

    for numbers in ([1], [1, 2, 3], [2, 5], list(range(1, 33)), list(range(1, 41))):
        frontend.load(workflow(numbers))
        assert frontend.inputs(1000) == shown(numbers)
    frontend.screenshot("forty")

    for numbers in ([1, 2], [2, 1], [7, 3, 32]):  # in the order in which they stand in the file
        prompt = {str(i): {"class_type": "RegionalPrompt", "inputs": {}} for i in numbers}
        links = {f"regional_prompts{i}": [str(i), 0] for i in numbers}
        frontend.load_prompt({**prompt, "1000": {"class_type": COMBINE, "inputs": links}})
        assert frontend.inputs(1000) == shown(sorted(numbers))
        (sent,) = frontend.js(
            """async () => {
                const { output } = await app.graphToPrompt();
                return Object.values(output).filter((node) => node.class_type === "CombineRegionalPrompts");
            }"""
        )
        assert sent["inputs"] == {
            name: [str(i), 0] for name, i in zip(names(len(numbers)), sorted(numbers), strict=True)
        }


TOP = 2**50  # of the host's own control_after_generate


@pytest.fixture
def sampler(frontend):
    """The id of a RegionalSampler in a graph that runs; the server's queue is emptied in the end."""
    scene = regional_sampler(seed=1, slow=0.01, steps=3)
    frontend.load_prompt(scene.prompt)
    frontend.set(int(scene.only("RegionalSampler")), "control_after_generate", "fixed")
    yield int(scene.only("RegionalSampler"))
    frontend.setting("Comfy.WidgetControlMode", "after")
    frontend.server.post("/queue", {"clear": True})
    frontend.server.interrupt()


def sampler_in(prompt):
    """The inputs of a prompt's only RegionalSampler."""
    (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "RegionalSampler")
    return inputs


def test_second_seed(frontend, sampler):
    for mode, value, after in [
        ("ignore", 5, 5),
        ("fixed", 5, 5),
        ("seed+seed_2nd", 5, 5),
        ("seed-seed_2nd", 5, 5),
        ("increment", 5, 6),
        ("increment", TOP, TOP),
        ("decrement", 5, 4),
        ("decrement", 0, 0),
        ("randomize", 5, None),
    ]:
        frontend.set(sampler, "seed_2nd_mode", mode)
        frontend.set(sampler, "seed_2nd", value)
        sent = sampler_in(frontend.queue())
        assert (sent["seed_2nd"], sent["seed_2nd_mode"]) == (value, mode)
        now = frontend.widgets(sampler)
        if after is None:
            assert 0 <= now["seed_2nd"] <= TOP and now["seed_2nd"] != value and now["seed_2nd"] % 1 == 0
        else:
            assert now["seed_2nd"] == after
        assert (now["seed"], now["seed_2nd_mode"]) == (1, mode)
    assert sampler_in(frontend.queue())["seed_2nd"] == now["seed_2nd"]


@pytest.mark.parametrize("off", [2, 4], ids=["muted", "bypassed"])
def test_the_first_region_may_be_left_out(off, frontend, sampler):
    (combine,) = frontend.nodes(COMBINE)
    first = frontend.inputs(combine)["regional_prompts1"]
    frontend.js("([id, mode]) => (app.graph.getNodeById(id).mode = mode)", [first, off])
    (sent,) = (node["inputs"] for node in frontend.queue().values() if node["class_type"] == COMBINE)
    assert list(sent) == ["regional_prompts2"]
    frontend.run()
    # The frontend's own word on a bypassed node that has nothing to pass on.
    frontend.said = [text for text in frontend.said if "No input types match type [REGIONAL_PROMPTS]" not in text]


def test_second_seed_where_it_stays(frontend, sampler):
    frontend.set(sampler, "seed_2nd_mode", "increment")
    frontend.set(sampler, "seed_2nd", 5)
    (save,) = frontend.nodes("SaveImage")
    frontend.queue(only=[save])
    assert frontend.widgets(sampler)["seed_2nd"] == 5
    # "before": the first run has the value that is shown
    frontend.setting("Comfy.WidgetControlMode", "before")
    assert [sampler_in(frontend.queue())["seed_2nd"] for _ in range(3)] == [6, 7, 8]
    frontend.load_prompt(regional_sampler(seed=1, steps=3, seed_2nd=5, seed_2nd_mode="increment").prompt)
    (sampler,) = frontend.nodes("RegionalSampler")
    assert [sampler_in(frontend.queue())["seed_2nd"] for _ in range(3)] == [5, 6, 7]
    frontend.setting("Comfy.WidgetControlMode", "after")
    # a linked one has its value from elsewhere
    seed = frontend.add("PrimitiveInt")
    frontend.connect(seed, sampler, "seed_2nd")
    frontend.queue()
    assert frontend.widgets(sampler)["seed_2nd"] == 7


def test_second_seed_as_input_of_a_subgraph(frontend, sampler):
    """There the node that shows the subgraph has the value."""
    frontend.set(sampler, "seed_2nd_mode", "increment")
    source = frontend.add("PrimitiveInt")
    frontend.connect(source, sampler, "seed_2nd")
    frontend.select(sampler)
    frontend.command("Comfy.Graph.ConvertToSubgraph")
    (subgraph,) = frontend.js("() => app.graph.nodes.filter((node) => node.subgraph).map(({ id }) => Number(id))")
    frontend.disconnect(subgraph, "seed_2nd")
    frontend.set(subgraph, "seed_2nd", 5)
    assert [sampler_in(frontend.queue())["seed_2nd"] for _ in range(2)] == [5, 6]
    assert frontend.widgets(subgraph)["seed_2nd"] == 7
    frontend.screenshot("once")

    # Shown twice, each node has its own.
    saved, copy = frontend.save(), 1000
    (node,) = (node for node in saved["nodes"] if node["id"] == subgraph)
    inputs = [{**slot, "link": None} for slot in node["inputs"]]
    outputs = [{**slot, "links": []} for slot in node["outputs"]]
    saved["nodes"].append({**node, "id": copy, "pos": [0, -300], "inputs": inputs, "outputs": outputs})
    saved["last_node_id"] = copy
    frontend.load(saved)
    assert (
        frontend.js("(ids) => new Set(ids.map((id) => app.graph.getNodeById(id).subgraph)).size", [subgraph, copy]) == 1
    )
    frontend.set(copy, "seed_2nd", 50)
    frontend.queue()
    assert [frontend.widgets(node)["seed_2nd"] for node in (subgraph, copy)] == [8, 51]

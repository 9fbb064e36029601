import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { choose } from "../../web/js/editor/choices.js";
import { Drawing } from "../../web/js/editor/drawing.js";
import { MAX_REGIONS, parse, stringify } from "../../web/js/editor/drawing_json.js";

const rect = { type: "rect", x: 0.25, y: 0.25, w: 0.5, h: 0.25 };
const names = () => drawing.regions.map(({ name }) => name);
let drawing, steps;

beforeEach(() => {
    drawing = new Drawing();
    steps = 0;
    drawing.listen((isStep) => (steps += isStep));
});

test("what is saved is what is read", () => {
    const saved = {
        version: 1,
        regions: [
            {
                name: "sky", color: "#12ab9f", prompt: "a {b|c}\n\"d\"", weight: 0.5, start: 0.1, end: 0.9, denoise: 0.3,
                enabled: false, shape: { type: "freehand", points: [[0, 0], [1, 0], [0, 1]] },
            },
        ],
        background: { filename: "a.png", subfolder: "b", type: "input" },
    };
    const strokes = [{ points: [[0.5, 0.5]], size: [0.1, 0.2], erase: false }];
    saved.regions.push({ ...saved.regions[0], shape: { type: "brush", strokes } });
    assert.deepEqual(JSON.parse(stringify(parse(JSON.stringify(saved)))), saved);
    const [region] = parse(JSON.stringify({ version: 1, regions: [{ shape: rect }] })).regions;
    assert.deepEqual(
        { ...region, id: 0 },
        {
            id: 0, name: "Region 1", color: "#e69f00", prompt: "", weight: 1, start: 0, end: 1, denoise: 1, enabled: true,
            shape: rect,
        },
    );
    assert.deepEqual(parse(" "), { regions: [], background: null });
});

test("what cannot be shown is kept, and nothing is drawn over it", () => {
    const broken = '{"version": 1, "regions": [{"shape": {"type": "brush", "strokes": [{"points": [], "size": [1, 1]}]}}]}';
    for (const json of ["{", "[]", '{"version": 2, "regions": []}', '{"version": 1}', '{"version": 1, "regions": [{}]}', broken]) {
        drawing.json = json;
        assert.equal(drawing.json, json);
        assert.ok(drawing.unreadable.reason);
        drawing.add(rect);
        drawing.begin();
        drawing.drag([]);
        drawing.drop();
        assert.equal(drawing.json, json);
    }
    drawing.json = "";
    assert.equal(drawing.unreadable.reason, "");
    drawing.add(rect);
    assert.equal(drawing.regions.length, 1);
});

test("each step is undone and done again", () => {
    const seen = [drawing.json];
    const act = [
        () => drawing.add(rect),
        () => drawing.add({ ...rect, type: "ellipse" }),
        () => drawing.set(drawing.selected, { prompt: "sun" }),
        () => drawing.mirror(drawing.selected, "y"),
        () => drawing.duplicate(drawing.selected),
        () => drawing.reorder(drawing.selected, -2),
        () => drawing.remove(drawing.selected),
        () => drawing.clear(),
        () => drawing.change({ background: { filename: "a", subfolder: "", type: "input" } }),
    ];
    for (const one of act) {
        one();
        assert.notEqual(drawing.json, seen.at(-1));
        seen.push(drawing.json);
    }
    assert.equal(steps, act.length);
    for (const json of seen.toReversed().slice(1)) {
        drawing.undo();
        assert.equal(drawing.json, json);
    }
    assert.ok(!drawing.canUndo);
    drawing.undo();
    for (const json of seen.slice(1)) {
        drawing.redo();
        assert.equal(drawing.json, json);
    }
    assert.ok(!drawing.canRedo);
    drawing.undo();
    drawing.add(rect); // a new step ends what could be done again
    assert.ok(!drawing.canRedo);
});

test("words and arrow keys one after the other are one step", () => {
    drawing.add(rect);
    const { selected } = drawing;
    for (const prompt of ["s", "su", "sun"]) drawing.set(selected, { prompt }, "prompt");
    for (let k = 0; k < 5; k++) drawing.move(selected, 0.01, 0);
    drawing.endMerging();
    drawing.move(selected, 0.01, 0);
    const lefts = [0.31, 0.3, 0.25].map((x) => {
        assert.ok(Math.abs(drawing.regions[0].shape.x - x) < 1e-9);
        drawing.undo();
        return x;
    });
    assert.equal(lefts.length, 3);
    assert.equal(drawing.regions[0].prompt, "");
});

test("it is told when no further change joins the last step", () => {
    const complete = [];
    drawing.onMerged = () => complete.push(drawing.json);
    drawing.add(rect);
    const { selected } = drawing;
    const ends = [
        () => drawing.set(selected, { weight: 0.5 }),
        () => drawing.set(selected, { name: "sea" }, "name"),
        () => drawing.begin(),
        () => drawing.undo(),
        () => drawing.select(null),
    ];
    for (const [count, end] of ends.entries()) {
        drawing.select(selected);
        complete.length = 0;
        for (const prompt of ["s", "su", `sun ${count}`]) drawing.set(selected, { prompt }, "prompt");
        assert.deepEqual(complete, []);
        const before = drawing.json;
        end();
        assert.deepEqual(complete, [before]);
        drawing.endMerging();
    }
});

test("another drawing goes on with the history", () => {
    for (let k = 0; k < 3; k++) drawing.add(rect);
    const states = [drawing.json];
    for (let k = 0; k < 3; k++) {
        drawing.undo();
        states.unshift(drawing.json);
    }
    drawing.redo();
    const next = (json) => {
        const made = new Drawing();
        made.json = json;
        made.continueHistory(drawing);
        assert.equal(made.json, json);
        return made;
    };
    for (const [index, json] of states.entries()) {
        const made = next(json);
        for (const before of states.slice(0, index).reverse()) {
            made.undo();
            assert.equal(made.json, before);
        }
        assert.ok(!made.canUndo);
        for (const after of states.slice(1)) {
            made.redo();
            assert.equal(made.json, after);
        }
        assert.ok(!made.canRedo);
    }
    const unlike = next(stringify(parse(states[1].replace("Region 1", "Sea"))));
    assert.ok(!unlike.canUndo && !unlike.canRedo);
});

test("a drag is one step, or none", () => {
    drawing.add(rect);
    const before = drawing.json;
    const shifted = (x) => drawing.regions.map((region) => ({ ...region, shape: { ...region.shape, x } }));
    steps = 0;
    drawing.begin();
    for (const x of [0.1, 0.2, 0.3]) drawing.drag(shifted(x));
    assert.equal(steps, 0);
    drawing.drop();
    assert.equal(steps, 1);
    drawing.undo();
    assert.equal(drawing.json, before);
    drawing.redo();
    assert.equal(drawing.regions[0].shape.x, 0.3);
    drawing.begin();
    drawing.drag(shifted(0.4));
    drawing.cancel();
    assert.equal(drawing.regions[0].shape.x, 0.3);
    drawing.begin();
    drawing.drag(shifted(0.4));
    drawing.undo(); // takes the drag back first
    assert.equal(drawing.regions[0].shape.x, 0.3);
    steps = 0;
    drawing.begin();
    drawing.drop();
    drawing.set(drawing.selected, { weight: 1 }); // as it is
    assert.equal(steps, 0);
});

test("a drag that is pushed aside by a step is taken back", () => {
    drawing.add(rect);
    drawing.begin();
    drawing.drag([]);
    drawing.add(rect);
    assert.deepEqual(names(), ["Region 1", "Region 2"]);
});

test("order, names, colours and the selection", () => {
    for (let k = 0; k < 3; k++) drawing.add(rect);
    assert.deepEqual(names(), ["Region 1", "Region 2", "Region 3"]);
    assert.equal(new Set(drawing.regions.map(({ color }) => color)).size, 3);
    const [first, second, third] = drawing.regions;
    assert.equal(drawing.region, third);
    drawing.reorder(third.id, 1); // no further down
    drawing.reorder(third.id, -1);
    assert.deepEqual(names(), ["Region 1", "Region 3", "Region 2"]);
    assert.deepEqual(drawing.reordered(first.id, 2).map(({ name }) => name), ["Region 3", "Region 2", "Region 1"]);
    drawing.select(first.id);
    drawing.remove(first.id);
    assert.equal(drawing.selected, null); // a second Delete removes nothing
    drawing.duplicate(second.id);
    assert.deepEqual(names(), ["Region 3", "Region 2", "Region 4"]);
    assert.notDeepEqual(drawing.region.shape, second.shape);
    drawing.undo();
    assert.equal(drawing.selected, null); // it is gone
    let full = 0;
    drawing.onFull = () => full++;
    while (drawing.regions.length < MAX_REGIONS) drawing.add(rect);
    assert.equal(full, 0);
    drawing.add(rect);
    drawing.duplicate(drawing.selected);
    assert.equal(full, 2);
    assert.equal(drawing.regions.length, MAX_REGIONS);
    assert.equal(new Set(names()).size, MAX_REGIONS);
});

test("the same drawing loaded again changes nothing; another one begins anew", () => {
    drawing.add(rect);
    const { selected, json } = drawing;
    drawing.json = json;
    assert.ok(drawing.canUndo && drawing.selected === selected);
    drawing.json = json.replace("Region 1", "Sky");
    assert.ok(!drawing.canUndo);
    assert.equal(drawing.region.name, "Sky"); // in the same place of the list
});

test("one of the parts in braces is chosen", () => {
    const last = () => 0.999;
    assert.equal(choose("a {red|blue} hat", () => 0), "a red hat");
    assert.equal(choose("a {red|blue} hat", last), "a blue hat");
    assert.equal(choose("{a|{b|c}} {d}", last), "c d");
    assert.equal(choose("\\{a|b\\} // not this\n/* nor\nthis */c"), "{a|b} \nc");
    assert.equal(choose("{ open"), "{ open");
});

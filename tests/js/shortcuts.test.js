import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { runShortcut } from "../../web/js/editor/shortcuts.js";
import { brush } from "../../web/js/editor/tools/brush.js";
import { select } from "../../web/js/editor/tools/select.js";
import { TestStage } from "./stage.js";

let stage, drawing;
const press = (key, held = {}) =>
    runShortcut({ key, code: "", ...held }, drawing, stage, () => stage.onEdit());

beforeEach(() => {
    stage = new TestStage();
    ({ drawing } = stage);
    stage.tool = select;
    for (let k = 0; k < 3; k++) drawing.add({ type: "rect", x: 0.1, y: 0.2, w: 0.2, h: 0.2 });
});

test("a tool by its letter, on other keyboards by the place of the key", () => {
    assert.ok(press("b"));
    assert.equal(stage.tool, brush);
    assert.ok(press("м", { code: "KeyV" }));
    assert.equal(stage.tool, select);
    assert.ok(press("B"));
    assert.equal(stage.tool, brush);
    assert.ok(!press("b", { altKey: true }));
    assert.ok(!press("b", { ctrlKey: true }));
});

test("arrows move by a pixel, with Shift by ten", () => {
    press("ArrowRight");
    press("ArrowDown", { shiftKey: true });
    assert.deepEqual(drawing.region.shape, { type: "rect", x: 0.101, y: 0.22, w: 0.2, h: 0.2 });
    drawing.select(null);
    assert.ok(press("ArrowUp")); // the graph does not scroll
});

test("keys of the selected region", () => {
    press("h");
    assert.equal(drawing.region.shape.x, 0.7);
    press("H", { shiftKey: true });
    assert.equal(drawing.region.shape.y, 0.6);
    press("[", { ctrlKey: true });
    assert.deepEqual(drawing.regions.map(({ name }) => name), ["Region 1", "Region 3", "Region 2"]);
    press("]", { metaKey: true });
    assert.equal(drawing.regions[2].name, "Region 3");
    assert.ok(press("Enter"));
    assert.equal(stage.edits, 1);
    press("d", { ctrlKey: true });
    assert.equal(drawing.regions.length, 4);
    press("Delete");
    press("Delete"); // nothing is selected any more
    assert.equal(drawing.regions.length, 3);
});

test("Backspace removes what the arrow has selected, and nothing else", () => {
    stage.tool = brush;
    assert.ok(!press("Backspace"));
    stage.tool = select;
    for (let k = 0; k < 3; k++) press("Backspace");
    assert.equal(drawing.regions.length, 2);
    stage.tool = brush;
    drawing.select(drawing.regions[0].id);
    assert.ok(press("Delete"));
    assert.equal(drawing.regions.length, 1);
});

test("without a selection these keys are not the editor's, except Ctrl+D", () => {
    drawing.select(null);
    for (const key of ["Delete", "Enter", "h", "Tab"]) assert.ok(!press(key), key);
    assert.ok(press("d", { ctrlKey: true })); // the browser would make a bookmark
    assert.ok(!press("[", { ctrlKey: true }));
    assert.equal(drawing.regions.length, 3);
});

test("undo and redo", () => {
    press("z", { ctrlKey: true });
    assert.equal(drawing.regions.length, 2);
    press("Z", { metaKey: true, shiftKey: true });
    assert.equal(drawing.regions.length, 3);
    press("я", { ctrlKey: true, code: "KeyZ" });
    assert.equal(drawing.regions.length, 2);
    press("y", { ctrlKey: true });
    assert.equal(drawing.regions.length, 3);
});

test("Escape cancels a drag first, then the selection", () => {
    let isDragging = true;
    stage.cancel = () => isDragging;
    press("Escape");
    assert.notEqual(drawing.selected, null);
    isDragging = false;
    press("Escape");
    assert.equal(drawing.selected, null);
});

test("brackets change the brush, and belong to a tool that paints", () => {
    assert.ok(!press("]"));
    stage.tool = brush;
    assert.ok(press("]"));
    assert.ok(Math.abs(stage.brush - 120) < 1e-9);
    assert.ok(press("х", { code: "BracketLeft" }));
    assert.ok(Math.abs(stage.brush - 100) < 1e-9);
});

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { TOOLS } from "../../web/js/editor/tools/all.js";
import { squareCorner } from "../../web/js/editor/tools/box.js";
import { brush } from "../../web/js/editor/tools/brush.js";
import { ellipse } from "../../web/js/editor/tools/ellipse.js";
import { eraser } from "../../web/js/editor/tools/eraser.js";
import { freehand } from "../../web/js/editor/tools/freehand.js";
import { rectangle } from "../../web/js/editor/tools/rectangle.js";
import { dragHandle } from "../../web/js/editor/tools/resize.js";
import { select } from "../../web/js/editor/tools/select.js";
import { NO_KEYS, TestStage } from "./stage.js";

let stage;
beforeEach(() => (stage = new TestStage()));

const rect = (x, y, w, h) => ({ type: "rect", x, y, w, h });
const strokesOf = (index) => stage.shapes[index].strokes;

test("names and keys of the tools are unique", () => {
    for (const field of ["name", "key"]) assert.equal(new Set(TOOLS.map((tool) => tool[field])).size, TOOLS.length);
});

test("rectangle and ellipse are drawn between two corners", () => {
    stage.drag(rectangle, [[0.5, 0.75], [0.25, 0.5]]);
    stage.drag(ellipse, [[0.5, 0.5], [0.8, 2]]);
    assert.deepEqual(stage.shapes, [rect(0.25, 0.5, 0.25, 0.25), { ...rect(0.5, 0.5, 0.3, 0.5), type: "ellipse" }]);
    assert.equal(stage.tool, select);
    assert.equal(stage.edits, 2);
    assert.equal(stage.selectedName, "Region 2");
});

test("while a box is drawn it is a draft and no region", () => {
    const gesture = rectangle.press(stage, [0.25, 0.5]);
    assert.equal(gesture.draft ?? null, null);
    gesture.drag([0.5, 0.75], NO_KEYS);
    assert.deepEqual(gesture.draft, rect(0.25, 0.5, 0.25, 0.25));
    assert.deepEqual(stage.shapes, []);
});

test("Shift draws a square in pixels that stays in the picture", () => {
    stage.drag(rectangle, [[0.5, 0.5], [0.6, 0.6]], { shiftKey: true });
    stage.drag(rectangle, [[0.5, 0.5], [0.9, 0.6]], { shiftKey: true }); // 250 pixels below the start
    stage.drag(ellipse, [[0.5, 0.5], [0.4, 0.2]], { shiftKey: true });
    const pixels = stage.shapes.map(({ x, y, w, h }) => [x * 1000, y * 500, w * 1000, h * 500].map(Math.round));
    assert.deepEqual(pixels, [[500, 250, 100, 100], [500, 250, 250, 250], [350, 100, 150, 150]]);
    assert.deepEqual(squareCorner([0.5, 0.5], [0, 0], { width: 100, height: 100 }), [0, 0]);
});

test("a click with a drawing tool selects what is there", () => {
    stage.drawing.add(rect(0, 0, 0.5, 0.5));
    stage.drawing.select(null);
    stage.drag(rectangle, [[0.9, 0.9], [0.901, 0.9]]);
    assert.equal(stage.drawing.selected, null);
    assert.equal(stage.tool, null);
    stage.drag(rectangle, [[0.1, 0.1], [0.102, 0.102]]);
    assert.equal(stage.selectedName, "Region 1");
    assert.equal(stage.tool, select);
    assert.equal(stage.shapes.length, 1);
    assert.equal(stage.edits, 0);
});

test("edges snap to other regions and to the grid, and not with Alt", () => {
    stage.snaps = true;
    stage.drawing.add(rect(0.203, 0.2, 0.2, 0.2));
    const gesture = rectangle.press(stage, [0.6, 0.6]);
    gesture.drag([0.405, 0.9], NO_KEYS);
    assert.deepEqual(gesture.guides, { x: 0.403, y: null });
    gesture.drag([0.405, 0.9], { ...NO_KEYS, altKey: true });
    assert.deepEqual(gesture.guides, { x: null, y: null });
    gesture.drag([0.405, 0.9], NO_KEYS);
    gesture.drop();
    const { x, y, w, h } = stage.shapes[1];
    const pixels = [x * 1000, (x + w) * 1000, y * 500, (y + h) * 500].map(Math.round);
    assert.deepEqual(pixels, [403, 600, 304, 448]); // 300 and 450 are not on the grid of 8 pixels
});

test("a freehand line is closed, thinned and kept in the picture", () => {
    const points = [[0.2, 0.2], [0.5, 0.2], [0.8, 0.2], [0.8, 1.5], [0.2, 0.8]];
    stage.drag(freehand, points);
    assert.deepEqual(stage.shapes, [{ type: "freehand", points: [[0.2, 0.2], [0.8, 0.2], [0.8, 1], [0.2, 0.8]] }]);
    stage.drag(freehand, [[0.1, 0.1], [0.4, 0.4]]); // a line has no inside
    assert.equal(stage.shapes.length, 1);
});

test("a region is moved in one undo step, and stays in the picture", () => {
    stage.drawing.add(rect(0.1, 0.1, 0.2, 0.2));
    const before = stage.drawing.json;
    stage.drag(select, [[0.2, 0.2], [0.3, 0.4], [2, 0.5]]);
    assert.deepEqual(stage.shapes, [rect(0.8, 0.4, 0.2, 0.2)]);
    stage.drawing.undo();
    assert.equal(stage.drawing.json, before);
    stage.drag(select, [[0.2, 0.2], [0.4, 0.3]], { shiftKey: true });
    assert.deepEqual(stage.shapes, [rect(0.3, 0.1, 0.2, 0.2)]);
});

test("a drag that is cancelled changes nothing", () => {
    stage.drawing.add(rect(0.1, 0.1, 0.2, 0.2));
    const before = stage.drawing.json;
    const gesture = select.press(stage, [0.2, 0.2]);
    gesture.drag([0.5, 0.5], NO_KEYS);
    assert.notEqual(stage.drawing.json, before);
    stage.drawing.cancel();
    assert.equal(stage.drawing.json, before);
});

test("clicks go from the uppermost region down, and around", () => {
    for (let k = 0; k < 3; k++) stage.drawing.add(rect(0, 0, 0.5, 0.5));
    stage.drawing.select(null);
    const names = [1, 2, 3, 4].map(() => {
        stage.drag(select, [[0.2, 0.2], [0.201, 0.2]]); // one CSS pixel is a click
        return stage.selectedName;
    });
    assert.deepEqual(names, ["Region 3", "Region 2", "Region 1", "Region 3"]);
    assert.equal(select.press(stage, [0.9, 0.9]), null);
    assert.equal(stage.drawing.selected, null);
    assert.equal(select.cursorAt(stage, [0.2, 0.2]), "move");
    assert.equal(select.cursorAt(stage, [0.9, 0.9]), "default");
});

test("a handle moves its edges only", () => {
    stage.drawing.add(rect(0.2, 0.2, 0.4, 0.4));
    stage.snaps = true;
    const gesture = dragHandle(stage, stage.drawing.region, "e");
    gesture.drag([0.996, 0.5], NO_KEYS);
    assert.deepEqual(gesture.guides, { x: 1, y: null });
    gesture.drop();
    assert.deepEqual(stage.shapes, [rect(0.2, 0.2, 0.8, 0.4)]);
    const corner = dragHandle(stage, stage.drawing.region, "nw");
    corner.drag([0.6, 0], { ...NO_KEYS, shiftKey: true });
    corner.drop();
    const { w, h } = stage.shapes[0];
    assert.ok(Math.abs(w / h - 2) < 1e-5);
});

test("the brush goes on in the selected painted region", () => {
    stage.drag(brush, [[0.2, 0.2], [0.3, 0.2], [0.4, 0.2]]);
    assert.deepEqual(strokesOf(0), [{ points: [[0.2, 0.2], [0.4, 0.2]], size: [0.1, 0.2], erase: false }]);
    stage.brush = 50;
    stage.drag(brush, [[0.5, 0.5]]); // a dot
    assert.equal(stage.shapes.length, 1);
    assert.deepEqual(strokesOf(0)[1], { points: [[0.5, 0.5]], size: [0.05, 0.1], erase: false });
    stage.drawing.undo();
    assert.equal(strokesOf(0).length, 1);
    stage.drawing.select(null);
    stage.drag(brush, [[0.5, 0.5], [0.5, 0.5]]);
    assert.deepEqual(stage.shapes.map(({ strokes }) => strokes.length), [1, 1]);
    assert.equal(strokesOf(1)[0].points.length, 1);
    assert.equal(stage.strokes, 3); // each time the prompt is asked for
});

test("the eraser takes from painted regions only", () => {
    stage.drawing.add(rect(0, 0, 0.5, 0.5));
    assert.equal(eraser.press(stage, [0.2, 0.2]), null);
    assert.equal(eraser.cursorAt(stage, [0.2, 0.2]), "not-allowed");
    stage.drawing.select(null);
    stage.drag(brush, [[0.2, 0.2], [0.4, 0.2]]);
    stage.drawing.select(null);
    assert.equal(eraser.cursorAt(stage, [0.3, 0.2]), "crosshair");
    stage.drag(eraser, [[0.3, 0.2], [0.3, 0.4]]);
    assert.equal(stage.selectedName, "Region 2");
    assert.deepEqual(strokesOf(1).map(({ erase }) => erase), [false, true]);
    stage.drag(eraser, [[0.9, 0.9]]); // of the selected one, wherever the pointer is
    assert.equal(strokesOf(1).length, 3);
    assert.equal(stage.strokes, 1);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { anchor, widest } from "../../web/js/editor/label_area.js";
import { HANDLES, between, bounds, contains, fit, mirror, move, resize } from "../../web/js/editor/shapes.js";
import { simplify } from "../../web/js/editor/simplify.js";
import { snap, snapLines } from "../../web/js/editor/snap.js";

const rect = (x, y, w, h) => ({ type: "rect", x, y, w, h });
const box = (x, y, w, h) => ({ x, y, w, h });
const kite = { type: "freehand", points: [[0.2, 0.1], [0.3, 0.2], [0.2, 0.5], [0.1, 0.2]] };
const stroke = (points, size = 0.1, erase = false) => ({ points, size: [size, size], erase });
const brush = (...strokes) => ({ type: "brush", strokes });
const cross = brush(stroke([[0.2, 0.5], [0.8, 0.5]]), stroke([[0.5, 0.2], [0.5, 0.8]], 0.2, true));
const near = (got, want, off = 1e-5) => {
    assert.deepEqual(Object.keys(got), Object.keys(want));
    for (const key of Object.keys(want)) assert.ok(Math.abs(got[key] - want[key]) < off, `${key}: ${got[key]}`);
};

test("bounds and fit are each other's inverse", () => {
    assert.deepEqual(bounds(rect(0.1, 0.2, 0.3, 0.4)), box(0.1, 0.2, 0.3, 0.4));
    near(bounds(kite), box(0.1, 0.1, 0.2, 0.4));
    for (const shape of [rect(0.1, 0.2, 0.3, 0.4), { ...rect(0, 0, 1, 1), type: "ellipse" }, kite, cross]) {
        const to = fit(shape, box(0.5, 0.25, 0.25, 0.5));
        near(bounds(to), box(0.5, 0.25, 0.25, 0.5));
        assert.equal(to.type, shape.type);
        near(bounds(fit(to, bounds(shape))), bounds(shape));
    }
    const line = { type: "freehand", points: [[0.1, 0.1], [0.1, 0.5], [0.1, 0.3]] };
    assert.deepEqual(bounds(fit(line, box(0.5, 0, 0.2, 1))), box(0.5, 0, 0, 1));
});

test("nothing is changed in place, and numbers are rounded", () => {
    const frozen = Object.freeze({ type: "freehand", points: Object.freeze(kite.points.map(Object.freeze)) });
    move(frozen, 0.1, 0.1);
    mirror(frozen, "x");
    assert.equal(move(rect(0.1, 0.1, 0.2, 0.2), 1 / 3, 0).x, 0.433333);
    assert.ok(Object.is(mirror(rect(0.5, 0, 0.5, 1), "x").x, 0));
});

test("a shape stays on the canvas", () => {
    near(bounds(move(rect(0.1, 0.2, 0.3, 0.4), -1, 0.05)), box(0, 0.25, 0.3, 0.4));
    near(bounds(move(kite, 1, 1)), box(0.8, 0.6, 0.2, 0.4));
    // what was out of it before may stay, and comes no further out
    near(bounds(move(rect(-0.2, 0, 0.5, 0.5), -0.1, 0)), box(-0.2, 0, 0.5, 0.5));
    near(bounds(move(rect(-0.2, 0, 0.5, 0.5), 0.1, 0)), box(-0.1, 0, 0.5, 0.5));
});

test("mirrored twice is as before", () => {
    near(bounds(mirror(rect(0.1, 0.2, 0.3, 0.4), "x")), box(0.6, 0.2, 0.3, 0.4));
    near(bounds(mirror(rect(0.1, 0.2, 0.3, 0.4), "y")), box(0.1, 0.4, 0.3, 0.4));
    for (const axis of ["x", "y"]) assert.deepEqual(mirror(mirror(cross, axis), axis), cross);
    for (const axis of ["x", "y"]) assert.deepEqual(mirror(mirror(kite, axis), axis), kite);
    assert.deepEqual(mirror(kite, "x").points[1], [0.7, 0.2]);
});

test("what lies inside", () => {
    assert.ok(contains(rect(0.1, 0.1, 0.2, 0.2), [0.1, 0.3]));
    assert.ok(!contains(rect(0.1, 0.1, 0.2, 0.2), [0.31, 0.2]));
    const disc = { ...rect(0, 0, 1, 0.5), type: "ellipse" };
    assert.ok(contains(disc, [0.5, 0.25]) && contains(disc, [0.01, 0.25]) && !contains(disc, [0.1, 0.05]));
    assert.ok(contains(kite, [0.2, 0.3]) && !contains(kite, [0.11, 0.4]) && !contains(kite, [0.5, 0.3]));
    const eight = { type: "freehand", points: [[0.1, 0.1], [0.4, 0.9], [0.4, 0.1], [0.1, 0.9]] };
    assert.ok(contains(eight, [0.15, 0.5]) && contains(eight, [0.35, 0.5]) && !contains(eight, [0.25, 0.2]));
});

test("a box between two corners", () => {
    assert.deepEqual(between([0.5, 0.75], [0.25, 2]), box(0.25, 0.75, 0.25, 0.25));
});

test("each handle moves its edges", () => {
    const from = box(0.25, 0.25, 0.5, 0.5);
    const to = (handle, at, keep) => resize(from, handle, at, [0.01, 0.01], keep);
    assert.deepEqual(to("e", [0.875, 0]), box(0.25, 0.25, 0.625, 0.5));
    assert.deepEqual(to("n", [0, 0.125]), box(0.25, 0.125, 0.5, 0.625));
    assert.deepEqual(to("sw", [0.125, 0.875]), box(0.125, 0.25, 0.625, 0.625));
    for (const handle of HANDLES) {
        for (const at of [[-5, -5], [5, 5], [0.5, 0.5]]) {
            for (const keep of [false, true]) {
                const { x, y, w, h } = to(handle, at, keep);
                assert.ok(x > -1e-9 && y > -1e-9 && x + w < 1 + 1e-9 && y + h < 1 + 1e-9, handle);
                assert.ok(w >= 0.0099 && h >= 0.0099);
                if (keep) assert.ok(Math.abs(w / h - 1) < 1e-9);
                if (!/[we]/.test(handle) && !keep) assert.equal(w, 0.5);
            }
        }
    }
    // the corner that is not dragged stays
    near(to("nw", [0.125, 0.2], true), box(0.125, 0.125, 0.625, 0.625));
});

test("edges snap to the nearest line, then to the grid", () => {
    const { x, y } = snapLines([box(0.1, 0.2, 0.3, 0.4)]);
    assert.deepEqual(x, [0, 0.5, 1, 0.1, 0.25, 0.4]);
    assert.deepEqual(y.slice(3), [0.2, 0.4, 0.6000000000000001]);
    const to = snap([0.39, 0.7], x, 0.02, 0);
    assert.equal(to.line, 0.4);
    assert.ok(Math.abs(to.shift - 0.01) < 1e-9);
    assert.deepEqual(snap([0.45], x, 0.02, 0), { shift: 0, line: null });
    assert.ok(Math.abs(snap([0.46], x, 0.02, 0.125).shift - 0.04) < 1e-9);
    assert.equal(snap([0.245, 0.51], x, 0.02, 0.125).line, 0.25);
});

test("a freehand line keeps its corners and loses what lies on its edges", () => {
    const part = (a, b, k) => a + ((b - a) * k) / 20;
    const side = (a, b) => Array.from({ length: 20 }, (_, k) => [part(a[0], b[0], k), part(a[1], b[1], k)]);
    const points = [...side([0, 0], [1, 0]), ...side([1, 0], [1, 1]), [1, 1]];
    assert.deepEqual(simplify(points, 0.001), [[0, 0], [1, 0], [1, 1]]);
    assert.ok(simplify(points.map(([x, y], k) => [x, y + (k % 2) / 100]), 0.001).length > 20);
    assert.deepEqual(simplify([[0, 0], [0.1, 0]], 1), [[0, 0], [0.1, 0]]);
    const wild = Array.from({ length: 20000 }, (_, k) => [Math.cos(k), Math.sin(k / 7)]);
    assert.ok(simplify(wild, 0.0007).length > 100);
});

test("a line that goes out and back keeps where it was", () => {
    const there = [[0.2, 1], [0.5, 1], [0.9, 1], [0.6, 1], [0.3, 1]];
    assert.deepEqual(simplify(there, 0.001), [[0.2, 1], [0.9, 1], [0.3, 1]]);
});

test("where a polygon is widest", () => {
    const { x, y, w } = widest(kite);
    assert.ok(Math.abs(y - 0.2) < 0.02 && Math.abs(x - 0.1) < 0.02 && w > 0.16);
    const comb = { type: "freehand", points: [[0, 0], [0.1, 0], [0.1, 0.9], [0.4, 0.9], [0.4, 0], [1, 0], [1, 1], [0, 1]] };
    assert.ok(widest(comb).y > 0.9 && widest(comb).w === 1);
});

test("a painted shape: what was painted last, and not erased", () => {
    near(bounds(cross), box(0.15, 0.45, 0.7, 0.1));
    const inside = (...at) => contains(cross, at);
    assert.deepEqual([inside(0.3, 0.5), inside(0.3, 0.54), inside(0.3, 0.56), inside(0.17, 0.5)], [true, true, false, true]);
    assert.deepEqual([inside(0.5, 0.5), inside(0.5, 0.3), inside(0.9, 0.9)], [false, false, false]);
    const again = brush(...cross.strokes, stroke([[0.5, 0.5]], 0.05));
    assert.deepEqual([contains(again, [0.51, 0.5]), contains(again, [0.55, 0.5])], [true, false]);
    const wide = brush({ points: [[0.5, 0.5]], size: [0.4, 0.1], erase: false });
    assert.deepEqual([contains(wide, [0.65, 0.5]), contains(wide, [0.5, 0.6])], [true, false]);
    near(bounds(brush(stroke([[0.5, 0.5]], 0.1, true))), box(0, 0, 0, 0));
    near(bounds(brush(stroke([[0, 0.5], [0.5, 1]], 0.2))), box(0, 0.4, 0.6, 0.6)); // what lies on the canvas
});

test("a painted shape is stretched with its brush", () => {
    const wide = fit(cross, box(0, 0.4, 1, 0.2));
    assert.deepEqual(wide.strokes[0].size, [0.142857, 0.2]);
    near(bounds(wide), box(0, 0.4, 1, 0.2));
    near(bounds(move(cross, 1, 0)), box(0.3, 0.45, 0.7, 0.1));
});

test("the words of a painted shape go on it", () => {
    assert.deepEqual(anchor(brush(stroke([[0, 0], [0.5, 0.4], [1, 1]]))), [0.5, 0.4]);
    const gap = brush(stroke([[0.2, 0.4], [0.5, 0.4], [0.7, 0.4], [1, 0.4]]), stroke([[0.5, 0.4]], 0.2, true));
    assert.deepEqual(anchor(gap), [0.7, 0.4]);
    assert.deepEqual(anchor(brush(stroke([[0.2, 0.2]], 0.1, true))), [0, 0]);
});

test("a painted shape off the canvas survives a move", () => {
    const off = brush(stroke([[-0.5, 0.5], [-0.3, 0.2]]));
    const { points, size } = move(off, 0.1, 0).strokes[0];
    assert.deepEqual(size, [0.1, 0.1]);
    assert.ok(points[1][0] - points[0][0] > 0.19);
});

test("the words of much painting go on its point next to the middle, that is not erased", () => {
    const points = Array.from({ length: 9000 }, (_, i) => [(i * 0.618) % 1, (i * 0.377) % 1]);
    const hole = stroke([[0.5, 0.5]], 0.4, true);
    const far = ([x, y]) => Math.hypot(x - 0.5, y - 0.5);
    const left = points.filter((point) => far(point) > 0.2).sort((a, b) => far(a) - far(b));
    const much = brush(stroke(points, 0.01), hole);
    for (let turn = 0; turn < 2; turn++) assert.ok(Math.abs(far(anchor(much)) - far(left[0])) < 1e-3);
});

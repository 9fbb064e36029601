import assert from "node:assert/strict";
import { test } from "node:test";
import { Frame, MARGIN } from "../../web/js/editor/frame.js";

const boxOf = ({ x, y, w, h }) => ({ x, y, w, h });

test("the picture is as large as fits, in the middle", () => {
    assert.deepEqual(boxOf(new Frame(1024, 524, { width: 2000, height: 1000 })), { x: 12, y: 12, w: 1000, h: 500 });
    const wide = new Frame(424, 324, { width: 400, height: 100 });
    assert.deepEqual(boxOf(wide), { x: MARGIN, y: 112, w: 400, h: 100 });
    assert.equal(new Frame(10, 10, { width: 1, height: 1 }).w, 0); // no room
});

test("points of the picture and of the canvas element", () => {
    const frame = new Frame(424, 324, { width: 400, height: 100 });
    assert.deepEqual(frame.toCanvas([0.5, 1]), [212, 212]);
    assert.deepEqual(frame.toPicture(...frame.toCanvas([0.25, 0.75])), [0.25, 0.75]);
    assert.deepEqual(frame.boxToCanvas({ x: 0.5, y: 0, w: 0.25, h: 0.5 }), { x: 212, y: 112, w: 100, h: 50 });
});

test("the nearest handle within reach", () => {
    const frame = new Frame(1024, 524, { width: 1000, height: 500 });
    const box = { x: 0.1, y: 0.2, w: 0.4, h: 0.4 };
    const places = Object.fromEntries(frame.handles(box).map(([name, x, y]) => [name, [x, y]]));
    assert.deepEqual([places.nw, places.n, places.se, places.w], [[112, 112], [312, 112], [512, 312], [112, 212]]);
    const at = (x, y) => frame.handleAt(box, frame.toPicture(x, y));
    assert.equal(at(120, 104), "nw");
    assert.equal(at(122, 112), null);
    assert.equal(at(320, 115), "n");
    const tiny = { x: 0.1, y: 0.2, w: 0.008, h: 0.4 }; // three handles within 8 pixels
    assert.equal(frame.handleAt(tiny, frame.toPicture(119, 112)), "ne");
});

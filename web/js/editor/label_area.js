// Where a region's label goes. Does not use the DOM.
import { bounds, clamp, contains } from "./shapes.js";

/**
 * @typedef {import("./shapes.js").Brush} Brush
 * @typedef {import("./shapes.js").Freehand} Freehand
 */

/**
 * The area of a label in CSS pixels of the canvas element: the inside of a rectangle or an ellipse, the widest place of
 * a freehand shape, the middle of a painted one.
 *
 * @param {Shape} shape
 * @param {import("./frame.js").Frame} frame
 * @param {number} lineHeight
 */
export function labelArea(shape, frame, lineHeight) {
    const box = frame.boxToCanvas(bounds(shape));
    if (shape.type === "rect") return { left: box.x + 3, width: box.w - 6, top: box.y + 3, height: box.h - 6 };
    if (shape.type === "ellipse") {
        const [width, height] = [box.w * 0.7, box.h * 0.7];
        return { left: box.x + box.w * 0.15, width, top: box.y + box.h * 0.15, height };
    }
    if (shape.type === "brush") {
        const [x, y] = frame.toCanvas(anchor(shape));
        const width = Math.max(box.w * 0.8, 60);
        const left = clamp(x - width / 2, frame.x, Math.max(frame.x + frame.w - width, frame.x));
        return { left, width, top: y - lineHeight / 2, height: 3 * lineHeight };
    }
    const { x, y, w } = frame.boxToCanvas({ ...widest(shape), h: 0 });
    const height = Math.min(2 * (y - box.y), 2 * (box.y + box.h - y), 4 * lineHeight + 8);
    return { left: x + w * 0.1, width: w * 0.8, top: y - Math.max(height, lineHeight) / 2, height };
}

/** @type {WeakMap<Brush, Point>} results of `anchor`, which every repaint asks for */
const anchors = new WeakMap();

/**
 * The point of a painted shape's strokes that is nearest to the middle of the shape and not erased.
 *
 * @param {Brush} shape
 * @returns {Point}
 */
export function anchor(shape) {
    const known = anchors.get(shape);
    if (known) return known;
    const box = bounds(shape);
    const distance = (/** @type {Point} */ [x, y]) => Math.hypot(x - box.x - box.w / 2, y - box.y - box.h / 2);
    const painted = shape.strokes.flatMap(({ erase, points }) => (erase ? [] : points));
    // Distances are computed once, not in every comparison of the sort.
    const sorted = painted.map((point) => ({ point, d: distance(point) })).sort((a, b) => a.d - b.d);
    const found = (sorted.find(({ point }) => contains(shape, point)) ?? sorted[0])?.point ?? [0, 0];
    anchors.set(shape, found);
    return found;
}

/**
 * The longest horizontal line inside a polygon, of 23 evenly spaced from its top to its bottom.
 *
 * @param {Freehand} shape
 * @returns {{ x: number, y: number, w: number }}
 */
export function widest(shape) {
    const box = bounds(shape);
    let best = { x: box.x, y: box.y, w: 0 };
    for (let part = 1; part < 24; part++) {
        const y = box.y + (box.h * part) / 24;
        /** @type {number[]} */
        const crossings = [];
        for (const [i, [x1, y1]] of shape.points.entries()) {
            const [x0, y0] = shape.points.at(i - 1) ?? [0, 0];
            if (y0 <= y !== y1 <= y) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
        }
        crossings.sort((a, b) => a - b);
        for (let i = 0; i + 1 < crossings.length; i += 2) {
            const [x = 0, end = 0] = crossings.slice(i, i + 2);
            if (end - x > best.w) best = { x, y, w: end - x };
        }
    }
    return best;
}

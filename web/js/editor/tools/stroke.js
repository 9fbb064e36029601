// Painting one stroke, for brush and eraser.
import { clamp, round } from "../shapes.js";
import { simplify } from "../simplify.js";

/**
 * @param {Stage} stage
 * @param {Point} at
 * @param {Region | null} region a painted one that gets the stroke; null: the stroke becomes a new region
 * @param {boolean} erase
 * @returns {Gesture}
 */
export function paintStroke(stage, at, region, erase) {
    const { drawing } = stage;
    const { width, height } = stage.size;
    const size = /** @type {Point} */ ([round(stage.brush / width), round(stage.brush / height)]);
    const before = region?.shape.type === "brush" ? region.shape.strokes : [];
    /** @type {Point[]} */
    const points = [];
    const show = (/** @type {Point[]} */ line) => {
        const shape = { type: /** @type {const} */ ("brush"), strokes: [...before, { points: line, size, erase }] };
        if (region) drawing.dragShape(region.id, shape);
        else gesture.draft = shape;
    };
    /** @type {Gesture} */
    const gesture = {
        drag([x, y]) {
            const point = /** @type {Point} */ ([round(clamp(x, 0, 1)), round(clamp(y, 0, 1))]);
            const last = points.at(-1);
            if (last && last[0] === point[0] && last[1] === point[1]) return;
            points.push(point);
            show(points);
        },
        drop() {
            show(simplify(points, stage.grain, width / height));
            if (region) drawing.drop();
            else if (gesture.draft) drawing.add(gesture.draft);
            if (!erase && drawing.region) stage.onStroke();
        },
    };
    if (region) drawing.begin();
    gesture.drag(at, { altKey: false, shiftKey: false }); // a click paints a dot
    return gesture;
}

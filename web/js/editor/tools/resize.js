// Dragging a handle of the selected region; part of every tool that does not paint.
import { SMALLEST } from "../frame.js";
import { bounds, fit, resize } from "../shapes.js";
import { snapPoint, snapper } from "./snapping.js";

/**
 * @param {Stage} stage
 * @param {Region} region
 * @param {import("../frame.js").Handle} handle
 * @returns {Gesture} Shift keeps the ratio of width to height, and does not snap
 */
export function dragHandle(stage, region, handle) {
    const { drawing, size } = stage;
    const box = bounds(region.shape);
    const smallest = /** @type {Point} */ ([SMALLEST / size.width, SMALLEST / size.height]);
    /** @type {Guides} */
    const guides = { x: null, y: null };
    drawing.begin();
    return {
        guides,
        drag(to, keys) {
            const [x, y] = keys.shiftKey ? to : snapPoint(to, snapper(stage, keys, guides, region));
            // A handle in the middle of an edge moves along one axis only.
            if (!/[we]/.test(handle)) guides.x = null;
            if (!/[ns]/.test(handle)) guides.y = null;
            const resized = resize(box, handle, [x, y], smallest, keys.shiftKey);
            drawing.dragShape(region.id, fit(region.shape, resized));
        },
        drop: () => drawing.drop(),
    };
}

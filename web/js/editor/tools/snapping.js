// Snapping during a drag.
import { clamp, bounds } from "../shapes.js";
import { snap, snapLines } from "../snap.js";

const REACH = 6; // CSS pixels between an edge and the line it snaps to
const GRID = 8; // pixels of the picture

/**
 * Returns a function that gives the shift, along one axis, that snaps the edges, and writes the line into `guides`.
 *
 * @param {Stage} stage
 * @param {Modifiers} keys Alt turns snapping off
 * @param {Guides} guides
 * @param {Region | null} dragged the region whose own edges are no lines to snap to
 */
export function snapper(stage, keys, guides, dragged = null) {
    const { drawing, frame, size } = stage;
    const isOn = stage.snaps && !keys.altKey;
    const others = drawing.regions.filter(({ id }) => id !== dragged?.id);
    const lines = isOn ? snapLines(others.map(({ shape }) => bounds(shape))) : { x: [], y: [] };
    return (/** @type {"x" | "y"} */ axis, /** @type {number[]} */ edges) => {
        const [length, pixels] = axis === "x" ? [frame.w, size.width] : [frame.h, size.height];
        const { shift, line } = snap(edges, lines[axis], REACH / length, isOn ? GRID / pixels : 0);
        guides[axis] = line;
        return shift;
    };
}

/**
 * A point, snapped and moved into the picture.
 *
 * @param {Point} point
 * @param {ReturnType<typeof snapper>} shift
 * @returns {Point}
 */
export function snapPoint([x, y], shift) {
    return [clamp(x + shift("x", [x]), 0, 1), clamp(y + shift("y", [y]), 0, 1)];
}

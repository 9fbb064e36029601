// Snapping of edges to lines and to the grid. Coordinates as in shapes.js; all functions are pure.

/** @typedef {import("./shapes.js").Box} Box */

/**
 * The lines that edges snap to, along each axis: edges and middle of the picture and of the other boxes.
 *
 * @param {Box[]} others
 */
export function snapLines(others) {
    const along = (/** @type {"x" | "y"} */ axis, /** @type {"w" | "h"} */ side) => [
        0,
        0.5,
        1,
        ...others.flatMap((box) => [box[axis], box[axis] + box[side] / 2, box[axis] + box[side]]),
    ];
    return { x: along("x", "w"), y: along("y", "h") };
}

/**
 * The shift along one axis that puts one of `edges` on the nearest line within `reach`; without such a line, the shift
 * that puts the first edge on the grid. `line` is the line, or null.
 *
 * @param {number[]} edges
 * @param {number[]} lines
 * @param {number} reach
 * @param {number} grid spacing; 0 turns the grid off
 * @returns {{ shift: number, line: number | null }}
 */
export function snap(edges, lines, reach, grid) {
    /** @type {{ shift: number, line: number | null } | null} */
    let best = null;
    for (const line of lines) {
        for (const edge of edges) {
            const shift = line - edge;
            if (Math.abs(shift) <= reach && (!best || Math.abs(shift) < Math.abs(best.shift))) best = { shift, line };
        }
    }
    if (best) return best;
    const first = edges[0] ?? 0;
    return { shift: grid ? Math.round(first / grid) * grid - first : 0, line: null };
}

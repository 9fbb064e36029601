// Thinning of the points that the pointer has left.
import { clamp } from "./shapes.js";

/** @typedef {import("./shapes.js").Point} Point */

/**
 * The line without the points that change it by less than `tolerance` (Douglas-Peucker).
 *
 * @param {Point[]} points
 * @param {number} tolerance
 * @param {number} [aspect] width / height of the picture: the tolerance is in widths
 * @returns {Point[]}
 */
export function simplify(points, tolerance, aspect = 1) {
    const [first, last] = [points[0], points.at(-1)];
    if (!first || !last || points.length < 3) return points;
    let [far, most] = [0, -1];
    const [dx, dy] = [last[0] - first[0], (last[1] - first[1]) / aspect];
    const square = dx * dx + dy * dy;
    for (const [i, [px, py]] of points.entries()) {
        const [x, y] = [px - first[0], (py - first[1]) / aspect];
        // Distance to the segment, not to the infinite line: a stroke may go out and back.
        const along = square ? clamp((x * dx + y * dy) / square, 0, 1) : 0;
        const off = Math.hypot(x - along * dx, y - along * dy);
        if (off > most) [far, most] = [i, off];
    }
    if (most <= tolerance || far === 0 || far === points.length - 1) return [first, last];
    const left = simplify(points.slice(0, far + 1), tolerance, aspect);
    return [...left.slice(0, -1), ...simplify(points.slice(far), tolerance, aspect)];
}

// Geometry of regions. Coordinates go from 0 (left, top) to 1 (right, bottom) of the canvas. Nothing here is changed in
// place, and nothing knows of the page.

/**
 * @typedef {{ x: number, y: number, w: number, h: number }} Box
 * @typedef {[number, number]} Point x, y
 * @typedef {({ type: "rect" } & Box) | ({ type: "ellipse" } & Box)} BoxShape
 * @typedef {{ type: "freehand", points: Point[] }} Freehand a closed polygon
 * @typedef {{ points: Point[], size: Point, erase: boolean }} Stroke of a round brush: its diameter across and down
 * @typedef {{ type: "brush", strokes: Stroke[] }} Brush each stroke paints or erases, one after the other
 * @typedef {BoxShape | Freehand | Brush} Shape
 * @typedef {{ x: number | null, y: number | null }} Guides what an edge has snapped to
 */

export const HANDLES = /** @type {const} */ (["nw", "n", "ne", "e", "se", "s", "sw", "w"]);

const DECIMALS = 1e6;

/** @param {number} value */
export const round = (value) => Math.round(value * DECIMALS) / DECIMALS || 0;

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * @param {Shape} shape
 * @returns {Box} of a painted shape what lies on the canvas, whether or not some of it was erased
 */
export function bounds(shape) {
    if (shape.type === "rect" || shape.type === "ellipse") return { x: shape.x, y: shape.y, w: shape.w, h: shape.h };
    const painted = shape.type === "brush" ? shape.strokes.filter(({ erase }) => !erase) : [{ ...shape, size: [0, 0] }];
    const along = (/** @type {0 | 1} */ axis) => {
        let [low, high] = [Infinity, -Infinity];
        for (const { points, size } of painted) {
            for (const point of points) {
                low = Math.min(low, point[axis] - (size[axis] ?? 0) / 2);
                high = Math.max(high, point[axis] + (size[axis] ?? 0) / 2);
            }
        }
        if (shape.type === "brush") [low, high] = [clamp(low, 0, 1), clamp(high, 0, 1)];
        return low <= high ? [low, high - low] : [0, 0];
    };
    const [[x = 0, w = 0], [y = 0, h = 0]] = [along(0), along(1)];
    return { x, y, w, h };
}

/**
 * The shape with its lines changed, one that has lines.
 *
 * @param {Freehand | Brush} shape
 * @param {(point: Point) => Point} place
 * @param {(size: Point) => Point} [scale]
 * @returns {Freehand | Brush}
 */
function redrawn(shape, place, scale = (size) => size) {
    if (shape.type === "freehand") return { ...shape, points: shape.points.map(place) };
    return {
        ...shape,
        strokes: shape.strokes.map(({ points, size, erase }) => ({
            points: points.map(place),
            size: scale(size),
            erase,
        })),
    };
}

/**
 * The shape, stretched to have these bounds.
 *
 * @template {Shape} T
 * @param {T} shape
 * @param {Box} to
 * @returns {T}
 */
export function fit(shape, to) {
    if (shape.type === "rect" || shape.type === "ellipse") {
        return { ...shape, x: round(to.x), y: round(to.y), w: round(to.w), h: round(to.h) };
    }
    const from = bounds(shape);
    const [across, down] = [from.w ? to.w / from.w : 1, from.h ? to.h / from.h : 1];
    const place = (/** @type {Point} */ [x, y]) =>
        /** @type {Point} */ ([round(to.x + (x - from.x) * across), round(to.y + (y - from.y) * down)]);
    return /** @type {T} */ (redrawn(shape, place, ([w, h]) => [round(w * across), round(h * down)]));
}

/**
 * The shape, moved as far as it stays on the canvas.
 *
 * @template {Shape} T
 * @param {T} shape
 * @param {number} dx
 * @param {number} dy
 * @returns {T}
 */
export function move(shape, dx, dy) {
    const box = bounds(shape);
    // What reaches out already, as an API prompt may have it, may stay out.
    const x = clamp(box.x + dx, Math.min(0, box.x), Math.max(1 - box.w, box.x));
    const y = clamp(box.y + dy, Math.min(0, box.y), Math.max(1 - box.h, box.y));
    return fit(shape, { ...box, x, y });
}

/**
 * The shape on the other side of the canvas's middle.
 *
 * @template {Shape} T
 * @param {T} shape
 * @param {"x" | "y"} axis x: left and right change sides
 * @returns {T}
 */
export function mirror(shape, axis) {
    if (shape.type === "freehand" || shape.type === "brush") {
        const flip = (/** @type {Point} */ [x, y]) =>
            /** @type {Point} */ (axis === "x" ? [round(1 - x), y] : [x, round(1 - y)]);
        return /** @type {T} */ (redrawn(shape, flip));
    }
    return axis === "x"
        ? { ...shape, x: round(1 - shape.x - shape.w) }
        : { ...shape, y: round(1 - shape.y - shape.h) };
}

/**
 * @param {Shape} shape
 * @param {Point} at
 */
export function contains(shape, [x, y]) {
    if (shape.type === "brush") {
        return shape.strokes.findLast((stroke) => passes(stroke, [x, y]))?.erase === false;
    }
    const box = bounds(shape);
    if (x < box.x || y < box.y || x > box.x + box.w || y > box.y + box.h) return false;
    if (shape.type === "rect") return true;
    if (shape.type === "ellipse") {
        return ((2 * (x - box.x)) / box.w - 1) ** 2 + ((2 * (y - box.y)) / box.h - 1) ** 2 <= 1;
    }
    let turns = 0; // as the mask is filled: what is gone around at all is inside
    for (const [i, [x1, y1]] of shape.points.entries()) {
        const [x0, y0] = shape.points.at(i - 1) ?? [0, 0];
        if (y0 <= y === y1 <= y) continue;
        if (x > x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) turns += y1 > y0 ? 1 : -1;
    }
    return turns !== 0;
}

/**
 * Whether a stroke covers a place.
 *
 * @param {Stroke} stroke
 * @param {Point} at
 */
function passes({ points, size: [w, h] }, [x, y]) {
    // Where the brush is a circle of radius 1.
    const scaled = (/** @type {Point | undefined} */ point) => [
        (2 * ((point?.[0] ?? 0) - x)) / w,
        (2 * ((point?.[1] ?? 0) - y)) / h,
    ];
    return points.some((point, index) => {
        const [ax = 0, ay = 0] = scaled(points[Math.max(index - 1, 0)]);
        const [bx = 0, by = 0] = scaled(point);
        const [dx, dy] = [bx - ax, by - ay];
        const along = clamp(-(ax * dx + ay * dy) / (dx * dx + dy * dy) || 0, 0, 1);
        return Math.hypot(ax + along * dx, ay + along * dy) <= 1;
    });
}

/** @type {WeakMap<Brush, Point>} what `anchor` has found: it is asked for in every frame */
const anchors = new WeakMap();

/**
 * Where a painted shape's words go: of the points that are left of it, the one next to its middle.
 *
 * @param {Brush} shape
 * @returns {Point}
 */
export function anchor(shape) {
    const known = anchors.get(shape);
    if (known) return known;
    const box = bounds(shape);
    const away = (/** @type {Point} */ [x, y]) => Math.hypot(x - box.x - box.w / 2, y - box.y - box.h / 2);
    const painted = shape.strokes.flatMap(({ erase, points }) => (erase ? [] : points));
    const places = painted.map((point) => ({ point, off: away(point) })).sort((a, b) => a.off - b.off);
    const found = (places.find(({ point }) => contains(shape, point)) ?? places[0])?.point ?? [0, 0];
    anchors.set(shape, found);
    return found;
}

/**
 * Where a polygon is widest, of 24 places from its top to its bottom: a level line within it.
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

/**
 * The box between two corners, within the canvas.
 *
 * @param {Point} a
 * @param {Point} b
 * @returns {Box}
 */
export function between([ax, ay], [bx, by]) {
    const [left, right] = [clamp(Math.min(ax, bx), 0, 1), clamp(Math.max(ax, bx), 0, 1)];
    const [top, bottom] = [clamp(Math.min(ay, by), 0, 1), clamp(Math.max(ay, by), 0, 1)];
    return { x: left, y: top, w: right - left, h: bottom - top };
}

/**
 * A box with one of its handles dragged. It stays on the canvas and never turns inside out.
 *
 * @param {Box} box
 * @param {typeof HANDLES[number]} handle
 * @param {Point} to where the handle is dragged
 * @param {Point} smallest width and height
 * @param {boolean} [keep] its proportions
 * @returns {Box}
 */
export function resize(box, handle, [x, y], [minW, minH], keep = false) {
    let [left, top, right, bottom] = [box.x, box.y, box.x + box.w, box.y + box.h];
    if (handle.includes("w")) left = clamp(x, Math.min(0, left), right - minW);
    if (handle.includes("e")) right = clamp(x, left + minW, Math.max(1, right));
    if (handle.includes("n")) top = clamp(y, Math.min(0, top), bottom - minH);
    if (handle.includes("s")) bottom = clamp(y, top + minH, Math.max(1, bottom));
    if (keep && box.w && box.h) {
        const wide = handle === "e" || handle === "w";
        const high = handle === "n" || handle === "s";
        let scale = wide ? (right - left) / box.w : (bottom - top) / box.h;
        if (!wide && !high) scale = Math.max((right - left) / box.w, scale);
        // No further than the canvas goes, seen from the corner that stays.
        scale = Math.min(scale, (handle.includes("w") ? box.x + box.w : 1 - box.x) / box.w);
        scale = Math.min(scale, (handle.includes("n") ? box.y + box.h : 1 - box.y) / box.h);
        const [w, h] = [box.w * scale, box.h * scale];
        [left, right] = handle.includes("w") ? [box.x + box.w - w, box.x + box.w] : [box.x, box.x + w];
        [top, bottom] = handle.includes("n") ? [box.y + box.h - h, box.y + box.h] : [box.y, box.y + h];
    }
    return { x: left, y: top, w: right - left, h: bottom - top };
}

/**
 * What edges may snap to along each axis: the canvas, its middle, and the other boxes with their middles.
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
 * How far to shift, along one axis, so that one of `edges` lies on a line within `reach`, or else the first one on the
 * grid; and the line, if it is one.
 *
 * @param {number[]} edges
 * @param {number[]} lines
 * @param {number} reach
 * @param {number} grid 0 turns it off
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

/**
 * A freehand line with the points left out that change it by less than `tolerance` (Douglas and Peucker).
 *
 * @param {Point[]} points
 * @param {number} tolerance
 * @param {number} [aspect] width / height of the canvas: the tolerance is in widths
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
        // From the line between the two, not from its way on: a stroke may go out and back.
        const along = square ? clamp((x * dx + y * dy) / square, 0, 1) : 0;
        const off = Math.hypot(x - along * dx, y - along * dy);
        if (off > most) [far, most] = [i, off];
    }
    if (most <= tolerance || far === 0 || far === points.length - 1) return [first, last];
    const left = simplify(points.slice(0, far + 1), tolerance, aspect);
    return [...left.slice(0, -1), ...simplify(points.slice(far), tolerance, aspect)];
}

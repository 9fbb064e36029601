// Geometry of regions. Coordinates run from 0 (left, top) to 1 (right, bottom) of the picture. All functions are pure:
// they return new values and do not use the DOM.

/**
 * @typedef {{ x: number, y: number, w: number, h: number }} Box
 * @typedef {[number, number]} Point x, y
 * @typedef {({ type: "rect" } & Box) | ({ type: "ellipse" } & Box)} BoxShape
 * @typedef {{ type: "freehand", points: Point[] }} Freehand a closed polygon
 * @typedef {{ points: Point[], size: Point, erase: boolean }} Stroke of a round brush; size: its diameter along x and y
 * @typedef {{ type: "brush", strokes: Stroke[] }} Brush the strokes paint or erase in this order
 * @typedef {BoxShape | Freehand | Brush} Shape
 */

export const HANDLES = /** @type {const} */ (["nw", "n", "ne", "e", "se", "s", "sw", "w"]);

const DECIMALS = 1e6;

/** @param {number} value */
export const round = (value) => Math.round(value * DECIMALS) / DECIMALS || 0;

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * The bounding box of a shape. For a painted shape: of its painting strokes, clipped to the picture; erasing does not
 * make it smaller.
 *
 * @param {Shape} shape
 * @returns {Box}
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
 * A copy of the shape with every point, and every brush size, mapped.
 *
 * @param {Freehand | Brush} shape
 * @param {(point: Point) => Point} mapPoint
 * @param {(size: Point) => Point} [mapSize]
 * @returns {Freehand | Brush}
 */
function mapped(shape, mapPoint, mapSize = (size) => size) {
    if (shape.type === "freehand") return { ...shape, points: shape.points.map(mapPoint) };
    return {
        ...shape,
        strokes: shape.strokes.map(({ points, size, erase }) => ({
            points: points.map(mapPoint),
            size: mapSize(size),
            erase,
        })),
    };
}

/**
 * A copy of the shape, moved and stretched so that its bounding box is `to`.
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
    return /** @type {T} */ (mapped(shape, place, ([w, h]) => [round(w * across), round(h * down)]));
}

/**
 * A copy of the shape, moved by (dx, dy) but not out of the picture.
 *
 * @template {Shape} T
 * @param {T} shape
 * @param {number} dx
 * @param {number} dy
 * @returns {T}
 */
export function move(shape, dx, dy) {
    const box = bounds(shape);
    // A shape from an API prompt may already lie partly outside; it may stay there but not move further out.
    const x = clamp(box.x + dx, Math.min(0, box.x), Math.max(1 - box.w, box.x));
    const y = clamp(box.y + dy, Math.min(0, box.y), Math.max(1 - box.h, box.y));
    return fit(shape, { ...box, x, y });
}

/**
 * A copy of the shape, mirrored about the middle of the picture.
 *
 * @template {Shape} T
 * @param {T} shape
 * @param {"x" | "y"} axis x: swaps left and right
 * @returns {T}
 */
export function mirror(shape, axis) {
    if (shape.type === "freehand" || shape.type === "brush") {
        const flip = (/** @type {Point} */ [x, y]) =>
            /** @type {Point} */ (axis === "x" ? [round(1 - x), y] : [x, round(1 - y)]);
        return /** @type {T} */ (mapped(shape, flip));
    }
    return axis === "x"
        ? { ...shape, x: round(1 - shape.x - shape.w) }
        : { ...shape, y: round(1 - shape.y - shape.h) };
}

/**
 * Whether a point lies in a shape.
 *
 * @param {Shape} shape
 * @param {Point} at
 */
export function contains(shape, [x, y]) {
    if (shape.type === "brush") {
        return shape.strokes.findLast((stroke) => covers(stroke, [x, y]))?.erase === false;
    }
    const box = bounds(shape);
    if (x < box.x || y < box.y || x > box.x + box.w || y > box.y + box.h) return false;
    if (shape.type === "rect") return true;
    if (shape.type === "ellipse") {
        return ((2 * (x - box.x)) / box.w - 1) ** 2 + ((2 * (y - box.y)) / box.h - 1) ** 2 <= 1;
    }
    let turns = 0; // nonzero winding rule, with which the server fills the mask too
    for (const [i, [x1, y1]] of shape.points.entries()) {
        const [x0, y0] = shape.points.at(i - 1) ?? [0, 0];
        if (y0 <= y === y1 <= y) continue;
        if (x > x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) turns += y1 > y0 ? 1 : -1;
    }
    return turns !== 0;
}

/**
 * Whether a stroke covers a point.
 *
 * @param {Stroke} stroke
 * @param {Point} at
 */
function covers({ points, size: [w, h] }, [x, y]) {
    // Scaled and shifted so that the brush has radius 1 and the point is the origin.
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

/**
 * The box with two opposite corners, clipped to the picture.
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
 * The box after one of its handles was dragged. It stays inside the picture and keeps its orientation.
 *
 * @param {Box} box
 * @param {typeof HANDLES[number]} handle
 * @param {Point} to where the handle is dragged
 * @param {Point} smallest width and height of the result
 * @param {boolean} [keepsRatio] of width to height
 * @returns {Box}
 */
export function resize(box, handle, [x, y], [minW, minH], keepsRatio = false) {
    let [left, top, right, bottom] = [box.x, box.y, box.x + box.w, box.y + box.h];
    if (handle.includes("w")) left = clamp(x, Math.min(0, left), right - minW);
    if (handle.includes("e")) right = clamp(x, left + minW, Math.max(1, right));
    if (handle.includes("n")) top = clamp(y, Math.min(0, top), bottom - minH);
    if (handle.includes("s")) bottom = clamp(y, top + minH, Math.max(1, bottom));
    if (keepsRatio && box.w && box.h) {
        const wide = handle === "e" || handle === "w";
        const high = handle === "n" || handle === "s";
        let scale = wide ? (right - left) / box.w : (bottom - top) / box.h;
        if (!wide && !high) scale = Math.max((right - left) / box.w, scale);
        // Not out of the picture, measured from the corner or edge that stays in place.
        scale = Math.min(scale, (handle.includes("w") ? box.x + box.w : 1 - box.x) / box.w);
        scale = Math.min(scale, (handle.includes("n") ? box.y + box.h : 1 - box.y) / box.h);
        const [w, h] = [box.w * scale, box.h * scale];
        [left, right] = handle.includes("w") ? [box.x + box.w - w, box.x + box.w] : [box.x, box.x + w];
        [top, bottom] = handle.includes("n") ? [box.y + box.h - h, box.y + box.h] : [box.y, box.y + h];
    }
    return { x: left, y: top, w: right - left, h: bottom - top };
}

// Dragging a box from corner to corner, for rectangle and ellipse.
import { between } from "../shapes.js";
import { addOrSelect } from "./add_region.js";
import { snapPoint, snapper } from "./snapping.js";

/**
 * @param {"rect" | "ellipse"} type
 * @param {Stage} stage
 * @param {Point} at
 * @returns {Gesture} Shift makes the box square
 */
export function dragBox(type, stage, at) {
    const guides = { x: null, y: null };
    /** @type {Point | null} */
    let start = null;
    /** @type {Gesture} */
    const gesture = {
        guides,
        drag(to, keys) {
            const shift = snapper(stage, keys, guides);
            start ??= snapPoint(at, shift);
            const snapped = snapPoint(to, shift);
            const end = keys.shiftKey ? squareCorner(start, to, stage.size) : snapped;
            gesture.draft = { type, ...between(start, end) };
        },
        drop: () => addOrSelect(stage, gesture.draft, at),
    };
    return gesture;
}

/**
 * The corner opposite to `start` of the largest square that reaches `to` in one direction and stays in the picture.
 *
 * @param {Point} start
 * @param {Point} to
 * @param {Size} size
 * @returns {Point}
 */
export function squareCorner([x, y], to, { width, height }) {
    const [isRight, isDown] = [to[0] > x, to[1] > y];
    const wanted = Math.max(Math.abs(to[0] - x) * width, Math.abs(to[1] - y) * height);
    const [roomX, roomY] = [isRight ? 1 - x : x, isDown ? 1 - y : y];
    const side = Math.min(wanted, roomX * width, roomY * height);
    return [x + ((isRight ? 1 : -1) * side) / width, y + ((isDown ? 1 : -1) * side) / height];
}

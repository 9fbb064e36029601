import { say } from "../../words.js";
import { bounds, move } from "../shapes.js";
import { snapper } from "./snapping.js";

const CLICK = 3; // CSS pixels that the pointer may move within a click

/** @type {Tool} */
export const select = {
    name: "select",
    key: "v",
    title: () => say("Select, move and resize (V)"),
    cursor: "default",
    cursorAt: ({ drawing }, at) => (drawing.regionsAt(at).length ? "move" : "default"),
    press(stage, at) {
        const { drawing } = stage;
        const found = drawing.regionsAt(at);
        const selected = drawing.region;
        const region = selected && found.includes(selected) ? selected : found[0];
        drawing.select(region?.id ?? null);
        if (!region) return null;
        // A click on the selected region goes on to the one below it.
        const next = region === selected ? found[(found.indexOf(region) + 1) % found.length] : null;
        return dragRegion(stage, at, region, () => next && drawing.select(next.id));
    },
};

/**
 * @param {Stage} stage
 * @param {Point} at
 * @param {Region} region
 * @param {() => void} onClick called on release if the pointer has not moved
 * @returns {Gesture} Shift keeps the movement horizontal or vertical
 */
function dragRegion(stage, at, region, onClick) {
    const { drawing, frame } = stage;
    const box = bounds(region.shape);
    /** @type {Guides} */
    const guides = { x: null, y: null };
    let isClick = true;
    drawing.begin();
    return {
        guides,
        drag(to, keys) {
            let [dx, dy] = [to[0] - at[0], to[1] - at[1]];
            if (isClick && Math.hypot(dx * frame.w, dy * frame.h) < CLICK) return;
            isClick = false;
            if (keys.shiftKey) [dx, dy] = Math.abs(dx * frame.w) > Math.abs(dy * frame.h) ? [dx, 0] : [0, dy];
            const shift = snapper(stage, keys, guides, region);
            const [x, y] = [box.x + dx, box.y + dy];
            if (dx || !keys.shiftKey) dx += shift("x", [x, x + box.w / 2, x + box.w]);
            if (dy || !keys.shiftKey) dy += shift("y", [y, y + box.h / 2, y + box.h]);
            drawing.dragShape(region.id, move(region.shape, dx, dy));
        },
        drop() {
            drawing.drop();
            if (isClick) onClick();
        },
    };
}

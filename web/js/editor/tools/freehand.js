import { say } from "../../words.js";
import { clamp, round } from "../shapes.js";
import { simplify } from "../simplify.js";
import { addOrSelect } from "./add_region.js";

/** @type {Tool} */
export const freehand = {
    name: "freehand",
    key: "f",
    title: () => say("Draw freehand (F)"),
    cursor: "crosshair",
    press(stage, at) {
        /** @type {Point[]} */
        const points = [[clamp(at[0], 0, 1), clamp(at[1], 0, 1)]];
        /** @type {Gesture} */
        const gesture = {
            drag([x, y]) {
                points.push([round(clamp(x, 0, 1)), round(clamp(y, 0, 1))]);
                gesture.draft = { type: "freehand", points };
            },
            drop() {
                const outline = simplify(points, stage.grain, stage.size.width / stage.size.height);
                addOrSelect(stage, outline.length > 2 ? { type: "freehand", points: outline } : null, at);
            },
        };
        return gesture;
    },
};

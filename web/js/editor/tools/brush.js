import { say } from "../../words.js";
import { paintStroke } from "./stroke.js";

/** @type {Tool} */
export const brush = {
    name: "brush",
    key: "b",
    title: () => say("Paint with a brush (B): adds to the selected painted region; press Escape twice for a new one"),
    paints: true,
    cursor: "crosshair",
    press(stage, at) {
        const { region } = stage.drawing;
        return paintStroke(stage, at, region?.shape.type === "brush" ? region : null, false);
    },
};

import { say } from "../../words.js";
import { paintStroke } from "./stroke.js";

/** @type {Tool} */
export const eraser = {
    name: "eraser",
    key: "x",
    title: () => say("Erase from the selected painted region (X)"),
    paints: true,
    cursor: "crosshair",
    cursorAt: ({ drawing }, at) => (erasable(drawing, at) ? "crosshair" : "not-allowed"),
    press(stage, at) {
        const region = erasable(stage.drawing, at);
        if (!region) return null;
        stage.drawing.select(region.id);
        return paintStroke(stage, at, region, true);
    },
};

/**
 * The painted region to erase from: the selected one, otherwise the uppermost at the point. Other shapes have no
 * strokes, so nothing can be erased from them.
 *
 * @param {Stage["drawing"]} drawing
 * @param {Point} at
 */
function erasable(drawing, at) {
    const { region } = drawing;
    return [...(region ? [region] : []), ...drawing.regionsAt(at)].find(({ shape }) => shape.type === "brush");
}

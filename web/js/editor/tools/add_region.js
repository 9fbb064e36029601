// The end of a drag with a tool that draws a new region.
import { SMALLEST } from "../frame.js";
import { bounds, fit } from "../shapes.js";
import { select } from "./select.js";

/**
 * Adds the drawn shape as a region and asks for its prompt. Without a shape, or with one that is too small, the press
 * was a click: it selects the uppermost region there.
 *
 * @param {Stage} stage
 * @param {Shape | null | undefined} shape
 * @param {Point} at of the press
 */
export function addOrSelect(stage, shape, at) {
    const { drawing, size } = stage;
    const box = shape && bounds(shape);
    if (shape && box && box.w * size.width >= SMALLEST && box.h * size.height >= SMALLEST) {
        drawing.add(fit(shape, box));
        stage.use(select);
        stage.onEdit();
    } else {
        drawing.select(drawing.regionsAt(at)[0]?.id ?? null);
        if (drawing.region) stage.use(select);
    }
}

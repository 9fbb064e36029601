// What the keys do in the editor. Does not use the DOM.
import { TOOLS } from "./tools/all.js";

/**
 * @typedef {Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">} KeyPress
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {Pick<import("./view.js").View, "tool" | "use" | "cancel" | "brush" | "size">} View
 */

const BRUSH_STEP = 1.2;

/** @type {Record<string, [number, number]>} pixels of the picture */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Does what the key stands for.
 *
 * @param {KeyPress} press
 * @param {Drawing} drawing
 * @param {View} view
 * @param {() => void} edit puts the cursor into the selected region's prompt
 * @returns {boolean} false: the key is not one of the editor's
 */
export function runShortcut(press, drawing, view, edit) {
    const key = latinKey(press);
    if (press.ctrlKey || press.metaKey) return runWithControl(key, press.shiftKey, drawing);
    if (press.altKey) return false;
    const { selected } = drawing;
    const arrow = ARROWS[key];
    const tool = TOOLS.find((one) => one.key === key);
    if (key === "Escape") {
        if (!view.cancel()) drawing.select(null);
    } else if (tool) {
        view.use(tool);
    } else if (view.tool.paints && (key === "[" || key === "]")) {
        view.brush *= key === "]" ? BRUSH_STEP : 1 / BRUSH_STEP;
    } else if (key === "Tab") {
        return false;
    } else if (selected === null) {
        return Boolean(arrow);
    } else if (arrow) {
        const step = press.shiftKey ? 10 : 1;
        drawing.move(selected, (arrow[0] * step) / view.size.width, (arrow[1] * step) / view.size.height);
    } else if (key === "Delete" || (key === "Backspace" && view.tool.name === "select")) {
        drawing.remove(selected);
    } else if (key === "h") {
        drawing.mirror(selected, press.shiftKey ? "y" : "x");
    } else if (key === "Enter") {
        edit();
    } else {
        return false;
    }
    return true;
}

/** @param {string} key @param {boolean} isShift @param {Drawing} drawing @returns {boolean} */
function runWithControl(key, isShift, drawing) {
    const { selected } = drawing;
    if (key === "z" && !isShift) drawing.undo();
    else if (key === "y" || key === "z") drawing.redo();
    else if (selected === null) return key === "d";
    else if (key === "d") drawing.duplicate(selected);
    else if (key === "[") drawing.reorder(selected, -1);
    else if (key === "]") drawing.reorder(selected, 1);
    else return false;
    return true;
}

/** The key in lower case; on a keyboard of another script, the Latin one at its place. @param {KeyPress} press */
function latinKey({ key, code }) {
    if (key.length !== 1) return key;
    const latin = /^Key([A-Z])$/.exec(code)?.[1] ?? { BracketLeft: "[", BracketRight: "]" }[code];
    return (key > "\u007f" && latin ? latin : key).toLowerCase();
}

// The toolbar above the canvas, and the line below it: the tool's hint and the size of the brush.
import { say } from "../words.js";
import { SMALLEST } from "./frame.js";
import { button, element } from "./page.js";
import { TOOLS } from "./tools/all.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {import("./page.js").Icon} Icon
 * @typedef {import("./view.js").View} View
 */

export class Toolbar {
    root = element("div", { className: "tools" });
    status = element("div", { className: "status" });
    /** @type {string | null} shown in place of the tool's hint */
    warning = null;

    #drawing;
    #view;
    #focusKeys;
    /** @type {Map<Icon, HTMLButtonElement>} */
    #buttons = new Map();
    #brush = element("label", { className: "brush" });
    #brushSize = element("input", {
        type: "range",
        title: say("Brush size ([ and ])"),
        ariaLabel: say("Brush size ([ and ])"), // otherwise the label's text: the number beside the slider
    });
    #brushPixels = element("output");
    #hint = element("span");

    /**
     * @param {Drawing} drawing
     * @param {View} view
     * @param {() => void} focusKeys called after each click: the keys go to the canvas again
     * @param {() => void} choosePicture
     */
    constructor(drawing, view, focusKeys, choosePicture) {
        this.#drawing = drawing;
        this.#view = view;
        this.#focusKeys = focusKeys;
        for (const tool of TOOLS) this.#add(tool.name, tool.title(), () => view.use(tool));
        this.#addGap();
        this.#add("undo", say("Undo (Ctrl+Z)"), () => drawing.undo());
        this.#add("redo", say("Redo (Ctrl+Y)"), () => drawing.redo());
        this.#addGap();
        this.#addForRegion("duplicate", say("Duplicate (Ctrl+D)"), (id) => drawing.duplicate(id));
        this.#addForRegion("mirrorX", say("Mirror left and right (H)"), (id) => drawing.mirror(id, "x"));
        this.#addForRegion("mirrorY", say("Mirror top and bottom (Shift+H)"), (id) => drawing.mirror(id, "y"));
        this.#addForRegion("remove", say("Remove (Delete)"), (id) => drawing.remove(id));
        this.#add("clear", say("Remove all regions"), () => drawing.clear());
        this.#addGap();
        this.#add("snap", say("Snap to edges and the grid (Alt turns it off while dragging)"), () => {
            view.snaps = !view.snaps;
            this.show();
        });
        this.#add("picture", say("Choose a background picture, or drop one on the canvas"), choosePicture);
        this.#add("pictureOff", say("Remove the background picture"), () => drawing.change({ background: null }));

        this.#brushSize.addEventListener("input", () => void (view.brush = this.#brushSize.valueAsNumber));
        this.#brushSize.addEventListener("pointerup", focusKeys);
        this.#brush.append(this.#brushSize, this.#brushPixels);
        this.status.append(this.#brush, this.#hint);
    }

    /** @param {Icon} icon @param {string} title @param {() => void} action */
    #add(icon, title, action) {
        const added = button(icon, title, () => {
            action();
            this.#focusKeys();
        });
        this.#buttons.set(icon, added);
        this.root.append(added);
    }

    /** @param {Icon} icon @param {string} title @param {(id: number) => void} action on the selected region */
    #addForRegion(icon, title, action) {
        this.#add(icon, title, () => {
            if (this.#drawing.selected !== null) action(this.#drawing.selected);
        });
    }

    #addGap() {
        this.root.append(element("span", { className: "gap" }));
    }

    /** Shows what is pressed, and what can be. */
    show() {
        const [drawing, view] = [this.#drawing, this.#view];
        for (const { name } of TOOLS) this.#press(name, view.tool.name === name);
        this.#press("snap", view.snaps);
        this.showStatus();
        this.#enable("undo", drawing.canUndo);
        this.#enable("redo", drawing.canRedo);
        for (const icon of /** @type {const} */ (["duplicate", "mirrorX", "mirrorY", "remove"])) {
            this.#enable(icon, drawing.selected !== null);
        }
        this.#enable("pictureOff", drawing.background !== null);
        this.#enable("clear", drawing.regions.length > 0);
    }

    /** @param {Icon} icon @param {boolean} isPressed */
    #press(icon, isPressed) {
        this.#buttons.get(icon)?.setAttribute("aria-pressed", String(isPressed));
    }

    /** @param {Icon} icon @param {boolean} isEnabled */
    #enable(icon, isEnabled) {
        const button = this.#buttons.get(icon);
        if (button) button.disabled = !isEnabled;
    }

    showStatus() {
        const { brush, largestBrush, tool } = this.#view;
        this.#brush.hidden = !tool.paints;
        Object.assign(this.#brushSize, { min: String(SMALLEST), max: String(largestBrush), value: String(brush) });
        this.#brushPixels.textContent = `${brush} px`;
        const hint = this.warning ?? tool.title();
        Object.assign(this.#hint, { textContent: hint, title: hint, className: this.warning ? "warning" : "" });
    }
}

// A region's card in the list: its name, colour, prompt and numbers.
import { say } from "../words.js";
import { button, element, setIcon } from "./page.js";
import { bounds, clamp } from "./shapes.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {import("./drawing_json.js").Fields} Fields
 */

/** @type {() => ["weight" | "start" | "end" | "denoise", string, string][]} field, label, title */
const SHARES = () => [
    ["weight", say("weight"), say("Share of the prediction that the region gets inside its mask: 1 all, 0 nothing")],
    ["start", say("start"), say("Where the region begins: a share of the noise schedule (0 to 1), not of the steps")],
    ["end", say("end"), say("Where the region ends, as a share of the noise schedule; below 1 the base finishes it")],
    ["denoise", say("denoise"), say("For image to image: how much of the picture the region repaints")],
];
/** @type {() => ["x" | "y" | "w" | "h", keyof Size, string][]} field, the picture's side it refers to, title */
const PLACES = () => [
    ["x", "width", say("Left edge in pixels")],
    ["y", "height", say("Upper edge in pixels")],
    ["w", "width", say("Width in pixels")],
    ["h", "height", say("Height in pixels")],
];

export class Card {
    root = element("div", { className: "card" });
    prompt = element("textarea", { rows: 2, placeholder: say("Prompt: what this region shows") });
    grip = element("span", { className: "grip", title: say("Drag to change the order") });

    #drawing;
    #id;
    #size;
    #number = element("span", { className: "number" });
    #color = element("input", { type: "color", title: say("Colour") });
    #name = element("input", { type: "text", className: "name", title: say("Name"), spellcheck: false });
    #eye;
    #note = element("p", { className: "note" });
    #shares;
    #places;

    /**
     * @param {Drawing} drawing
     * @param {number} id of the region
     * @param {() => Size} size of the picture
     */
    constructor(drawing, id, size) {
        this.#drawing = drawing;
        this.#id = id;
        this.#size = size;
        this.#color.addEventListener("input", () => this.#set({ color: this.#color.value }, `color ${id}`));
        this.#name.addEventListener("input", () => this.#set({ name: this.#name.value }, `name ${id}`));
        this.prompt.addEventListener("input", () => {
            const prompt = this.prompt.value;
            // Emptying it is an undo step of its own.
            this.#set({ prompt }, prompt ? `prompt ${id}` : null);
        });
        this.#eye = button("eye", "", () => {
            const { region } = this;
            if (region) this.#set({ enabled: !region.enabled });
        });
        const remove = button("remove", say("Remove the region (Delete)"), () => drawing.remove(id));
        this.#shares = SHARES().map(([field, label, title]) => {
            const input = numberInput(title, 0.05, (value) => this.#setShare(field, value));
            Object.assign(input, { min: "0", max: "1" });
            return { field, label, input };
        });
        this.#places = PLACES().map(([field, side, title]) => {
            const input = numberInput(title, 1, (value) => this.#setPlace(field, value / this.#size()[side], side));
            return { field, label: field, side, input };
        });

        const head = element("div", { className: "head" });
        head.append(this.grip, this.#number, this.#color, this.#name, this.#eye, remove);
        const fields = element("div", { className: "fields" });
        for (const { label, input } of [...this.#places, ...this.#shares]) {
            const labelled = element("label", { title: input.title });
            labelled.append(element("span", { textContent: label }), input);
            fields.append(labelled);
        }
        this.root.append(head, this.prompt, fields, this.#note);
        this.root.addEventListener("pointerdown", () => drawing.select(id), true);
        this.root.addEventListener("focusin", () => {
            this.#note.textContent = "";
            drawing.select(id);
        });
    }

    get region() {
        return this.#drawing.regions.find(({ id }) => id === this.#id);
    }

    /** @param {import("./drawing_json.js").Region} region @param {number} number its place in the list, from 1 */
    show(region, number) {
        this.#number.textContent = String(number);
        showValue(this.#color, region.color);
        showValue(this.#name, region.name);
        showValue(this.prompt, region.prompt);
        const title = region.enabled ? say("Leave the region out") : say("Use the region again");
        Object.assign(this.#eye, { title, ariaLabel: title });
        setIcon(this.#eye, region.enabled ? "eye" : "eyeOff");
        this.root.classList.toggle("off", !region.enabled);
        this.root.style.setProperty("--color", region.color);
        for (const { field, input } of this.#shares) showValue(input, String(region[field]));
        const box = bounds(region.shape);
        for (const { field, side, input } of this.#places) {
            const pixels = box[field] * this.#size()[side];
            showValue(input, String(Math.round(pixels * 10) / 10));
        }
    }

    /** @param {Partial<Fields>} fields @param {string | null} [mergeKey] */
    #set(fields, mergeKey = null) {
        this.#drawing.set(this.#id, fields, mergeKey);
    }

    /** @param {"weight" | "start" | "end" | "denoise"} field @param {number} value */
    #setShare(field, value) {
        const { region } = this;
        if (!region) return;
        const fields = { [field]: clamp(value, 0, 1) };
        const { start, end } = { ...region, ...fields };
        // Otherwise the region would never be used.
        this.#note.textContent = start < end ? "" : say("start must be below end");
        if (start < end) this.#set(fields);
    }

    /** @param {"x" | "y" | "w" | "h"} field @param {number} value in widths or heights @param {keyof Size} side */
    #setPlace(field, value, side) {
        const { region } = this;
        if (!region) return;
        const box = bounds(region.shape);
        const low = field === "w" || field === "h" ? 1 / this.#size()[side] : 0;
        const high = { x: 1 - box.w, y: 1 - box.h, w: 1 - box.x, h: 1 - box.y }[field];
        this.#drawing.place(this.#id, { [field]: clamp(value, low, Math.max(high, 0)) });
    }
}

/**
 * Shows a value, except in a number field that has the focus: there the user is typing.
 *
 * @param {HTMLInputElement | HTMLTextAreaElement} input
 * @param {string} value
 */
function showValue(input, value) {
    if (input.value === value) return;
    if (document.activeElement === input && input instanceof HTMLInputElement && input.type === "number") return;
    input.value = value;
}

/** @param {string} title @param {number} step @param {(value: number) => void} onChange */
function numberInput(title, step, onChange) {
    const input = element("input", { type: "number", title, step: String(step) });
    input.addEventListener("change", () => {
        if (Number.isFinite(input.valueAsNumber)) onChange(input.valueAsNumber);
    });
    return input;
}

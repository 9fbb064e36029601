// The list beside the canvas: a card for each region, with all that is not drawn.
import { say } from "../words.js";
import { bounds, clamp } from "./shapes.js";
import { element, button } from "./page.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {import("./drawing.js").Region} Region
 * @typedef {import("./drawing.js").Fields} Fields
 * @typedef {{ width: number, height: number }} Size
 * @typedef {{ card: HTMLElement, show: (region: Region, number: number) => void, prompt: HTMLTextAreaElement }} Card
 */

/** @type {() => ["weight" | "start" | "end" | "denoise", string, string][]} */
const SHARES = () => [
    ["weight", say("weight"), say("Share of the prediction that the region gets inside its mask: 1 all, 0 nothing")],
    ["start", say("start"), say("Where the region begins: a share of the noise schedule (0 to 1), not of the steps")],
    ["end", say("end"), say("Where the region ends, as a share of the noise schedule; below 1 the base finishes it")],
    ["denoise", say("denoise"), say("For image to image: how much of the picture the region repaints")],
];
/** @type {() => ["x" | "y" | "w" | "h", keyof Size, string][]} */
const PLACES = () => [
    ["x", "width", say("Left edge in pixels")],
    ["y", "height", say("Upper edge in pixels")],
    ["w", "width", say("Width in pixels")],
    ["h", "height", say("Height in pixels")],
];

export class List {
    root = element("div", { className: "regional-editor-list" });
    #drawing;
    #size;
    /** @type {Map<number, Card>} */
    #cards = new Map();
    #empty = element("p", { className: "regional-editor-empty", textContent: say("No regions yet.") });

    /**
     * @param {Drawing} drawing
     * @param {() => Size} size of the picture in pixels
     */
    constructor(drawing, size) {
        this.#drawing = drawing;
        this.#size = size;
        this.root.dataset.captureWheel = "true"; // the host's sign for: scrolls by itself
        drawing.listen(() => this.show());
        this.show();
    }

    /** Puts the cursor into the selected region's prompt. */
    edit() {
        const { selected } = this.#drawing;
        if (selected !== null) this.#cards.get(selected)?.prompt.focus({ preventScroll: true });
    }

    show() {
        const { regions, selected } = this.#drawing;
        const ids = new Set(regions.map(({ id }) => id));
        for (const [id, { card }] of this.#cards) {
            if (ids.has(id)) continue;
            // First, as its button may have the focus: leaving the page it calls for another show.
            this.#cards.delete(id);
            card.remove();
        }
        this.#empty.hidden = regions.length > 0;
        if (!this.#empty.isConnected) this.root.append(this.#empty);
        for (const [index, region] of regions.entries()) {
            const made = this.#cards.get(region.id) ?? this.#card(region.id);
            this.#cards.set(region.id, made);
            made.show(region, index + 1);
            const wasSelected = made.card.classList.contains("selected");
            made.card.classList.toggle("selected", region.id === selected);
            // Only what is out of place: what is moved loses the focus.
            const there = this.root.children[index];
            if (there !== made.card) this.root.insertBefore(made.card, there ?? null);
            if (region.id === selected && !wasSelected) this.#reveal(made.card);
        }
    }

    /** @param {HTMLElement} card */
    #reveal(card) {
        const { root } = this;
        const [top, bottom] = [card.offsetTop, card.offsetTop + card.offsetHeight];
        if (top < root.scrollTop) root.scrollTop = top;
        else if (bottom > root.scrollTop + root.clientHeight) root.scrollTop = bottom - root.clientHeight;
    }

    /** @param {number} id @returns {Card} */
    #card(id) {
        const drawing = this.#drawing;
        const set = (/** @type {Partial<Fields>} */ fields, /** @type {string | null} */ merging = null) =>
            drawing.set(id, fields, merging);

        const grip = element("span", { className: "grip", title: say("Drag to change the order") });
        const number = element("span", { className: "number" });
        const color = element("input", { type: "color", title: say("Colour") });
        color.addEventListener("input", () => set({ color: color.value }, `color ${id}`));
        const name = element("input", { type: "text", className: "name", title: say("Name"), spellcheck: false });
        name.addEventListener("input", () => set({ name: name.value }, `name ${id}`));
        const eye = button("eye", "", () => {
            const region = drawing.regions.find((one) => one.id === id);
            if (region) set({ enabled: !region.enabled });
        });
        const remove = button("remove", say("Remove the region (Delete)"), () => drawing.remove(id));
        const prompt = element("textarea", { rows: 2, placeholder: say("Prompt: what this region shows") });
        prompt.addEventListener("input", () => {
            // To empty it is a step of its own, which can be undone.
            set({ prompt: prompt.value }, prompt.value ? `prompt ${id}` : null);
        });

        const note = element("p", { className: "note" });
        const shares = SHARES().map(([field, label, title]) => {
            const input = numeric(title, 0.05, (value) => {
                const fields = { [field]: clamp(value, 0, 1) };
                const region = drawing.regions.find((one) => one.id === id);
                if (!region) return;
                const { start, end } = { ...region, ...fields };
                // What would never paint is not taken.
                note.textContent = start < end ? "" : say("start must be below end");
                if (start < end) set(fields);
            });
            Object.assign(input, { min: "0", max: "1" });
            return { field, label, input };
        });
        const places = PLACES().map(([field, side, title]) => {
            const input = numeric(title, 1, (value) => {
                const region = drawing.regions.find((one) => one.id === id);
                if (!region) return;
                const box = bounds(region.shape);
                const share = value / this.#size()[side];
                const least = 1 / this.#size()[side];
                const to = { x: 1 - box.w, y: 1 - box.h, w: 1 - box.x, h: 1 - box.y }[field];
                drawing.place(id, { [field]: clamp(share, field === "w" || field === "h" ? least : 0, Math.max(to, 0)) });
            });
            return { field, label: field, side, input };
        });

        const fields = element("div", { className: "fields" });
        for (const { label, input } of [...places, ...shares]) {
            const labelled = element("label", { title: input.title });
            labelled.append(element("span", { textContent: label }), input);
            fields.append(labelled);
        }
        const head = element("div", { className: "head" });
        head.append(grip, number, color, name, eye, remove);
        const card = element("div", { className: "card" });
        card.append(head, prompt, fields, note);
        card.addEventListener("pointerdown", () => drawing.select(id), true);
        card.addEventListener("focusin", () => {
            note.textContent = "";
            drawing.select(id);
        });
        card.addEventListener("focusout", () => {
            drawing.pause();
            this.show();
        });
        grip.addEventListener("pointerdown", (event) => this.#reorder(event, id, grip));

        /** @param {Region} region @param {number} at */
        const show = (region, at) => {
            number.textContent = String(at);
            put(color, region.color);
            put(name, region.name);
            put(prompt, region.prompt);
            const words = region.enabled ? say("Leave the region out") : say("Use the region again");
            Object.assign(eye, { title: words, ariaLabel: words });
            card.classList.toggle("off", !region.enabled);
            card.style.setProperty("--color", region.color);
            for (const { field, input } of shares) put(input, String(region[field]));
            const box = bounds(region.shape);
            for (const { field, side, input } of places) {
                const pixels = box[field] * this.#size()[side];
                put(input, String(Math.round(pixels * 10) / 10));
            }
        };
        return { card, show, prompt };
    }

    /** @param {PointerEvent} event @param {number} id @param {HTMLElement} grip */
    #reorder(event, id, grip) {
        if (event.button !== 0) return;
        event.preventDefault();
        const drawing = this.#drawing;
        const stop = new AbortController();
        const { signal } = stop;
        drawing.select(id);
        drawing.begin();
        grip.classList.add("dragging");
        // On the window: a card that changes its place loses what it has captured.
        const follow = (/** @type {PointerEvent} */ { clientY }) => {
            const others = [...this.#cards].filter(([other]) => other !== id);
            const middle = (/** @type {HTMLElement} */ card) => {
                const { top, height } = card.getBoundingClientRect();
                return top + height / 2;
            };
            const to = others.filter(([, { card }]) => middle(card) < clientY).length;
            if (drawing.regions[to]?.id !== id) drawing.drag(drawing.ordered(id, to));
        };
        const end = (/** @type {boolean} */ isKept) => {
            stop.abort();
            grip.classList.remove("dragging");
            if (isKept) drawing.drop();
            else drawing.cancel();
        };
        window.addEventListener("pointermove", follow, { signal, capture: true });
        window.addEventListener("pointerup", () => end(true), { signal, capture: true });
        window.addEventListener("pointercancel", () => end(false), { signal, capture: true });
    }
}

/**
 * Shows a value, but not to the person who is just writing another one.
 *
 * @param {HTMLInputElement | HTMLTextAreaElement} input
 * @param {string} value
 */
function put(input, value) {
    if (input.value === value) return;
    if (document.activeElement === input && input instanceof HTMLInputElement && input.type === "number") return;
    input.value = value;
}

/** @param {string} title @param {number} step @param {(value: number) => void} change */
function numeric(title, step, change) {
    const input = element("input", { type: "number", title, step: String(step) });
    input.addEventListener("change", () => {
        if (Number.isFinite(input.valueAsNumber)) change(input.valueAsNumber);
    });
    input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") input.blur();
    });
    return input;
}

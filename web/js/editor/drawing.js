// A drawing: its regions as JSON, the steps that can be undone, and what is selected. Knows nothing of the page.
import { say } from "../words.js";
import { bounds, fit, mirror, move } from "./shapes.js";

/**
 * @typedef {import("./shapes.js").Shape} Shape
 * @typedef {{ name: string, color: string, prompt: string, weight: number, start: number, end: number,
 *     denoise: number, enabled: boolean, shape: Shape }} Fields
 * @typedef {Fields & { id: number }} Region the id lasts as long as the page
 * @typedef {{ filename: string, subfolder: string, type: string }} Picture in one of the host's folders
 * @typedef {{ regions: Region[], background: Picture | null }} Moment
 */

export const VERSION = 1;
export const MAX_REGIONS = 64;
const MAX_STEPS = 200;

// Okabe and Ito's, then some of Tol's, as the server's overlay has them.
const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"].concat([
    "#882255",
    "#999933",
    "#332288",
    "#ddcc77",
    "#bbbbbb",
]);

let lastId = 0;

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** @param {unknown} value @param {number} fallback */
const number = (value, fallback) => (typeof value === "number" && Number.isFinite(value) ? value : fallback);

/** @param {unknown} value @param {string} fallback */
const text = (value, fallback) => (typeof value === "string" ? value : fallback);

/**
 * Throws an Error for a drawing that this editor would spoil by saving it.
 *
 * @param {string} json
 * @returns {Moment}
 */
export function parse(json) {
    if (!json.trim()) return { regions: [], background: null };
    /** @type {unknown} */
    let saved;
    try {
        saved = JSON.parse(json);
    } catch {
        throw new Error(say("The drawing is not JSON."));
    }
    if (!isObject(saved)) throw new Error(say("The drawing is not an object."));
    if (saved.version !== VERSION) {
        const values = { version: JSON.stringify(saved.version) ?? "undefined", own: VERSION };
        throw new Error(say("The drawing has version {version}, this pack has {own}.", values));
    }
    if (!Array.isArray(saved.regions)) throw new Error(say("The drawing has no list of regions."));
    const regions = saved.regions.map((one, index) => {
        const shape = isObject(one) ? readShape(one.shape) : null;
        if (!shape) throw new Error(say("Region {count} of the drawing has no shape.", { count: index + 1 }));
        return {
            id: ++lastId,
            name: text(one.name, nameOf(index + 1)),
            color: /^#[0-9a-f]{6}$/i.test(one.color) ? one.color : color(index),
            prompt: text(one.prompt, ""),
            weight: number(one.weight, 1),
            start: number(one.start, 0),
            end: number(one.end, 1),
            denoise: number(one.denoise, 1),
            enabled: one.enabled !== false,
            shape,
        };
    });
    const picture = saved.background;
    const isPicture = isObject(picture) && typeof picture.filename === "string";
    const background = isPicture
        ? { filename: picture.filename, subfolder: text(picture.subfolder, ""), type: text(picture.type, "input") }
        : null;
    return { regions, background };
}

/** @param {unknown} value @returns {value is [number, number]} */
const isPair = (value) => Array.isArray(value) && value.length === 2 && value.every((one) => Number.isFinite(one));

/** @param {unknown} points @param {number} least */
const isLine = (points, least) => Array.isArray(points) && points.length >= least && points.every(isPair);

/**
 * @param {unknown} shape
 * @returns {Shape | null}
 */
function readShape(shape) {
    if (!isObject(shape)) return null;
    if (shape.type === "freehand") {
        return isLine(shape.points, 3) ? { type: "freehand", points: shape.points } : null;
    }
    if (shape.type === "brush") {
        const strokes = Array.isArray(shape.strokes) ? shape.strokes : [];
        const isStroke = (/** @type {unknown} */ one) => isObject(one) && isLine(one.points, 1) && isPair(one.size);
        if (!strokes.length || !strokes.every(isStroke)) return null;
        const read = strokes.map(({ points, size, erase }) => ({ points, size, erase: erase === true }));
        return { type: "brush", strokes: read };
    }
    const { type, x, y, w, h } = shape;
    if (type !== "rect" && type !== "ellipse") return null;
    return [x, y, w, h].every((value) => Number.isFinite(value)) ? { type, x, y, w, h } : null;
}

/** @param {Moment} moment */
export function stringify({ regions, background }) {
    const saved = regions.map(({ name, color, prompt, weight, start, end, denoise, enabled, shape }) => {
        return { name, color, prompt, weight, start, end, denoise, enabled, shape };
    });
    return JSON.stringify({ version: VERSION, regions: saved, ...(background && { background }) });
}

/** @param {number} count */
const nameOf = (count) => say("Region {count}", { count });

/** @param {number} index */
const color = (index) => PALETTE[index % PALETTE.length] ?? "#bbbbbb";

/**
 * Text in which each {a|b} is replaced by one of its parts, and comments are taken out, as the host does with prompts.
 *
 * @param {string} prompt
 * @param {() => number} [random] from 0 up to, not including, 1
 */
export function choose(prompt, random = Math.random) {
    let left = prompt.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    const innermost = /(?<!\\)\{([^{}]*?)(?<!\\)\}/;
    for (let found = innermost.exec(left); found; found = innermost.exec(left)) {
        const parts = (found[1] ?? "").split("|");
        const part = parts[Math.floor(random() * parts.length)] ?? "";
        left = left.slice(0, found.index) + part + left.slice(found.index + found[0].length);
    }
    return left.replace(/\\([{}])/g, "$1");
}

/** What is drawn, and how it came to be. Every change tells those who listen. */
export class Drawing {
    /** @type {Moment} */
    #now = { regions: [], background: null };
    /** @type {Moment[]} */
    #past = [];
    /** @type {Moment[]} */
    #future = [];
    /** @type {Moment | null} before what is being dragged */
    #before = null;
    /** @type {string | null} what changes go into one step */
    #merging = null;
    /** @type {Set<(isStep: boolean | null) => void>} */
    #listeners = new Set();
    /** @type {number | null} the id of a region */
    selected = null;
    /** Called when a region was not added, as there are MAX_REGIONS. */
    onFull = () => {};
    /** A text that cannot be shown, and is kept as it is; and what is wrong with it. */
    unread = { json: "", reason: "" };

    get regions() {
        return this.#now.regions;
    }

    get background() {
        return this.#now.background;
    }

    get region() {
        return this.regions.find(({ id }) => id === this.selected);
    }

    get canUndo() {
        return this.#past.length > 0;
    }

    get canRedo() {
        return this.#future.length > 0;
    }

    get isDragging() {
        return this.#before !== null;
    }

    get json() {
        return this.unread.reason ? this.unread.json : stringify(this.#now);
    }

    /** @param {string} json what was saved; nothing happens if it is what is here */
    set json(json) {
        if (json === this.json && !this.unread.reason) return;
        const place = this.regions.findIndex(({ id }) => id === this.selected);
        this.unread = { json: "", reason: "" };
        try {
            this.#now = parse(json);
        } catch (error) {
            this.#now = { regions: [], background: null };
            this.unread = { json, reason: error instanceof Error ? error.message : String(error) };
        }
        [this.#past, this.#future, this.#before, this.#merging] = [[], [], null, null];
        this.selected = this.regions[place]?.id ?? null;
        this.#tell(null);
    }

    /** @param {(isStep: boolean | null) => void} listener told whether this is a step; null for another drawing */
    listen(listener) {
        this.#listeners.add(listener);
    }

    /** @param {boolean | null} isStep */
    #tell(isStep) {
        for (const listener of this.#listeners) listener(isStep);
    }

    /**
     * One step, never within a drag. Steps with the same `merging`, one right after the other, are one.
     *
     * @param {Partial<Moment>} to
     * @param {string | null} [merging]
     */
    change(to, merging = null) {
        this.cancel();
        if (this.unread.reason) return;
        const next = { ...this.#now, ...to };
        if (stringify(next) === stringify(this.#now)) return;
        if (merging === null || merging !== this.#merging) this.#note(this.#now);
        this.#merging = merging;
        this.#now = next;
        this.#keepSelection();
        this.#tell(true);
    }

    /** @param {Moment} moment */
    #note(moment) {
        this.#past = [...this.#past, moment].slice(-MAX_STEPS);
        this.#future = [];
    }

    #keepSelection() {
        if (!this.region) this.selected = null;
    }

    /** From here on, `drag` shows what `drop` makes one step. */
    begin() {
        this.cancel();
        if (!this.unread.reason) this.#before = this.#now;
    }

    /** @param {Region[]} regions */
    drag(regions) {
        if (!this.#before) return;
        this.#now = { ...this.#now, regions };
        this.#tell(false);
    }

    drop() {
        const before = this.#before;
        this.#before = null;
        if (!before || stringify(before) === stringify(this.#now)) return;
        this.#note(before);
        this.#merging = null;
        this.#tell(true);
    }

    /** Takes a drag back. */
    cancel() {
        if (!this.#before) return;
        this.#now = this.#before;
        this.#before = null;
        this.#keepSelection();
        this.#tell(false);
    }

    undo() {
        this.#travel(this.#past, this.#future);
    }

    redo() {
        this.#travel(this.#future, this.#past);
    }

    /**
     * @param {Moment[]} from
     * @param {Moment[]} to
     */
    #travel(from, to) {
        if (this.isDragging) return this.cancel();
        const moment = from.pop();
        if (!moment) return;
        to.push(this.#now);
        this.#now = moment;
        this.#merging = null;
        this.#keepSelection();
        this.#tell(true);
    }

    /** Ends a row of steps that are one. */
    pause() {
        this.#merging = null;
    }

    /** @param {number | null} id */
    select(id) {
        if (id === this.selected) return;
        this.selected = id;
        this.pause();
        this.#tell(false);
    }

    /**
     * @param {number} id
     * @param {Partial<Fields>} fields
     * @param {string | null} [merging]
     */
    set(id, fields, merging = null) {
        this.cancel();
        const regions = this.regions.map((region) => (region.id === id ? { ...region, ...fields } : region));
        this.change({ regions }, merging);
    }

    /** A region of this shape, with a name and a colour that no other has. @param {Shape} shape @returns {Region} */
    make(shape) {
        const names = new Set(this.regions.map(({ name }) => name));
        const colors = new Set(this.regions.map((region) => region.color));
        let count = this.regions.length + 1;
        while (names.has(nameOf(count))) count++;
        const free = PALETTE.find((one) => !colors.has(one)) ?? color(this.regions.length);
        const rest = { prompt: "", weight: 1, start: 0, end: 1, denoise: 1, enabled: true, shape };
        return { id: ++lastId, name: nameOf(count), color: free, ...rest };
    }

    /** @param {Shape} shape */
    add(shape) {
        this.cancel();
        if (this.regions.length >= MAX_REGIONS) return this.onFull();
        const region = this.make(shape);
        this.change({ regions: [...this.regions, region] });
        this.select(region.id);
    }

    clear() {
        this.change({ regions: [] });
    }

    /** @param {number} id */
    remove(id) {
        this.cancel();
        const index = this.regions.findIndex((region) => region.id === id);
        this.change({ regions: this.regions.filter((region) => region.id !== id) });
        this.select((this.regions[index] ?? this.regions.at(-1))?.id ?? null);
    }

    /**
     * @param {number} id
     * @param {number} step how far the copy lies from it, in widths and heights
     */
    duplicate(id, step = 0.03) {
        this.cancel();
        const index = this.regions.findIndex((region) => region.id === id);
        const region = this.regions[index];
        if (!region) return;
        if (this.regions.length >= MAX_REGIONS) return this.onFull();
        const box = bounds(region.shape);
        const away = [box.x + box.w + step > 1 ? -step : step, box.y + box.h + step > 1 ? -step : step];
        const { id: copy, name, color } = this.make(region.shape);
        const shape = move(region.shape, away[0] ?? 0, away[1] ?? 0);
        const regions = this.regions.toSpliced(index + 1, 0, { ...region, id: copy, name, color, shape });
        this.change({ regions });
        this.select(copy);
    }

    /** @param {number} id @param {"x" | "y"} axis */
    mirror(id, axis) {
        this.cancel();
        const region = this.regions.find((one) => one.id === id);
        if (region) this.set(id, { shape: mirror(region.shape, axis) });
    }

    /** @param {number} id @param {number} dx @param {number} dy */
    move(id, dx, dy) {
        this.cancel();
        const region = this.regions.find((one) => one.id === id);
        if (region) this.set(id, { shape: move(region.shape, dx, dy) }, `move ${id}`);
    }

    /** @param {number} id @param {Partial<import("./shapes.js").Box>} box */
    place(id, box) {
        this.cancel();
        const region = this.regions.find((one) => one.id === id);
        if (region) this.set(id, { shape: fit(region.shape, { ...bounds(region.shape), ...box }) });
    }

    /** The regions with one of them at another place of the list. @param {number} id @param {number} to */
    ordered(id, to) {
        const region = this.regions.find((one) => one.id === id);
        return region ? this.regions.filter((one) => one !== region).toSpliced(to, 0, region) : this.regions;
    }

    /** @param {number} id @param {number} by places down the list */
    shift(id, by) {
        this.cancel();
        const to = this.regions.findIndex((region) => region.id === id) + by;
        if (to >= 0 && to < this.regions.length) this.change({ regions: this.ordered(id, to) });
    }
}

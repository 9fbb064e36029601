// A drawing as JSON: the value of the node's `regions` input. The server has the same version, limit of regions and
// colours.
import { say } from "../words.js";

/**
 * @typedef {{ name: string, color: string, prompt: string, weight: number, start: number, end: number,
 *     denoise: number, enabled: boolean, shape: Shape }} Fields of a region
 * @typedef {Fields & { id: number }} Region the id is unique on the page and not saved
 * @typedef {{ filename: string, subfolder: string, type: string }} Picture in one of the host's folders
 * @typedef {{ regions: Region[], background: Picture | null }} Snapshot of a drawing
 */

export const VERSION = 1;
export const MAX_REGIONS = 64;

// The Okabe-Ito palette, then colours of Paul Tol's palettes.
export const PALETTE = [
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#882255",
    "#999933",
    "#332288",
    "#ddcc77",
    "#bbbbbb",
];

let lastId = 0;

export const newId = () => ++lastId;

/** @param {number} number from 1 */
export const defaultName = (number) => say("Region {count}", { count: number });

/** @param {number} index */
export const defaultColor = (index) => PALETTE[index % PALETTE.length] ?? "#bbbbbb";

/**
 * Throws an Error for JSON that is no drawing of this version: to save it again would lose something.
 *
 * @param {string} json "" is an empty drawing
 * @returns {Snapshot}
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
    return { regions: saved.regions.map(readRegion), background: readBackground(saved.background) };
}

/** @param {Snapshot} snapshot */
export function stringify({ regions, background }) {
    const saved = regions.map(({ name, color, prompt, weight, start, end, denoise, enabled, shape }) => {
        return { name, color, prompt, weight, start, end, denoise, enabled, shape };
    });
    return JSON.stringify({ version: VERSION, regions: saved, ...(background && { background }) });
}

/** @param {unknown} saved @param {number} index @returns {Region} */
function readRegion(saved, index) {
    const shape = isObject(saved) ? readShape(saved.shape) : null;
    if (!isObject(saved) || !shape) {
        throw new Error(say("Region {count} of the drawing has no shape.", { count: index + 1 }));
    }
    return {
        id: newId(),
        name: text(saved.name, defaultName(index + 1)),
        color: /^#[0-9a-f]{6}$/i.test(saved.color) ? saved.color : defaultColor(index),
        prompt: text(saved.prompt, ""),
        weight: number(saved.weight, 1),
        start: number(saved.start, 0),
        end: number(saved.end, 1),
        denoise: number(saved.denoise, 1),
        enabled: saved.enabled !== false,
        shape,
    };
}

/** @param {unknown} saved @returns {Picture | null} */
function readBackground(saved) {
    if (!isObject(saved) || typeof saved.filename !== "string") return null;
    return { filename: saved.filename, subfolder: text(saved.subfolder, ""), type: text(saved.type, "input") };
}

/** @param {unknown} saved @returns {Shape | null} */
function readShape(saved) {
    if (!isObject(saved)) return null;
    if (saved.type === "freehand") {
        return isLine(saved.points, 3) ? { type: "freehand", points: saved.points } : null;
    }
    if (saved.type === "brush") {
        const strokes = Array.isArray(saved.strokes) ? saved.strokes : [];
        const isStroke = (/** @type {unknown} */ one) => isObject(one) && isLine(one.points, 1) && isPair(one.size);
        if (!strokes.length || !strokes.every(isStroke)) return null;
        const read = strokes.map(({ points, size, erase }) => ({ points, size, erase: erase === true }));
        return { type: "brush", strokes: read };
    }
    const { type, x, y, w, h } = saved;
    if (type !== "rect" && type !== "ellipse") return null;
    return [x, y, w, h].every((value) => Number.isFinite(value)) ? { type, x, y, w, h } : null;
}

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** @param {unknown} value @returns {value is [number, number]} */
const isPair = (value) => Array.isArray(value) && value.length === 2 && value.every((one) => Number.isFinite(one));

/** @param {unknown} points @param {number} minLength */
const isLine = (points, minLength) => Array.isArray(points) && points.length >= minLength && points.every(isPair);

/** @param {unknown} value @param {number} fallback */
const number = (value, fallback) => (typeof value === "number" && Number.isFinite(value) ? value : fallback);

/** @param {unknown} value @param {string} fallback */
const text = (value, fallback) => (typeof value === "string" ? value : fallback);

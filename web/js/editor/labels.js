// A region's label on the canvas: its number and name, and its prompt below. Lengths are CSS pixels.
import { say } from "../words.js";
import { labelArea } from "./label_area.js";
import { outline } from "./outline.js";

export const LINE_HEIGHT = 15;
export const FONT = "12px Inter, Arial, sans-serif";

/**
 * @param {CanvasRenderingContext2D} context
 * @param {import("./frame.js").Frame} frame
 * @param {Region} region
 * @param {number} number its place in the list, from 1
 */
export function paintLabel(context, frame, region, number) {
    const { shape } = region;
    const { left, width, top, height } = labelArea(shape, frame, LINE_HEIGHT);
    const leftOf = (/** @type {number} */ textWidth) =>
        shape.type === "rect" ? left : left + (width - textWidth) / 2;
    context.save();
    if (!region.enabled) context.globalAlpha = 0.5;
    if (shape.type !== "brush") context.clip(outline(shape, frame)); // strokes are often narrower than their label
    context.font = FONT;
    context.textBaseline = "middle";
    const title = shorten(context, `${number}  ${region.name}`, Math.max(width - 10, 12));
    const titleWidth = context.measureText(title).width + 10;
    context.fillStyle = region.color;
    context.beginPath();
    context.roundRect(leftOf(titleWidth), top, titleWidth, LINE_HEIGHT + 3, 3);
    context.fill();
    context.fillStyle = isLight(region.color) ? "#111" : "#fff";
    context.fillText(title, leftOf(titleWidth) + 5, top + LINE_HEIGHT / 2 + 2);
    context.fillStyle = "#fff";
    context.shadowColor = "#000";
    context.shadowBlur = 3;
    let prompt = region.prompt.trim();
    if (!prompt && region.enabled) {
        prompt = say("no prompt: the base paints here");
        context.font = `italic ${FONT}`;
    }
    const lines = wrap(context, prompt, width - 6, Math.floor((height - LINE_HEIGHT - 5) / LINE_HEIGHT));
    for (const [index, line] of lines.entries()) {
        const x = leftOf(context.measureText(line).width + 6) + 3;
        context.fillText(line, x, top + LINE_HEIGHT + 12 + index * LINE_HEIGHT);
    }
    context.restore();
}

/** Whether black text is easier to read on it than white. @param {string} color #rrggbb */
function isLight(color) {
    const [r, g, b] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
    return 0.3 * (r ?? 0) + 0.59 * (g ?? 0) + 0.11 * (b ?? 0) > 140;
}

/**
 * The text, cut to a width and ended by an ellipsis if it is wider.
 *
 * @param {Pick<CanvasRenderingContext2D, "measureText">} context
 * @param {string} text
 * @param {number} width
 */
function shorten(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let start = text.slice(0, 200);
    while (start && context.measureText(`${start}…`).width > width) start = start.slice(0, -1);
    return `${start}…`;
}

/**
 * The text in lines of at most a width; what does not fit into `maxLines` is left out.
 *
 * @param {Pick<CanvasRenderingContext2D, "measureText">} context
 * @param {string} text
 * @param {number} width
 * @param {number} maxLines
 */
function wrap(context, text, width, maxLines) {
    /** @type {string[]} */
    const lines = [];
    let line = "";
    for (const word of text.slice(0, 2000).split(/\s+/).filter(Boolean)) {
        if (lines.length >= maxLines) return lines;
        const longer = line ? `${line} ${word}` : word;
        if (line && context.measureText(longer).width > width) {
            lines.push(line);
            line = word;
        } else {
            line = longer;
        }
    }
    return lines.length < maxLines && line ? [...lines, shorten(context, line, width)] : lines;
}

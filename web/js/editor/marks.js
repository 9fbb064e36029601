// What the canvas shows beside the regions: guides, handles, sizes, the brush, the hint. Lengths are CSS pixels.
import { say } from "../words.js";
import { MARGIN } from "./frame.js";
import { FONT, LINE_HEIGHT } from "./labels.js";
import { clamp } from "./shapes.js";

/**
 * @typedef {import("./shapes.js").Box} Box
 * @typedef {import("./frame.js").Frame} Frame
 */

const HANDLE = 4.5; // half a handle's side

/** @param {CanvasRenderingContext2D} context @param {Frame} frame @param {Guides} guides */
export function paintGuides(context, frame, { x, y }) {
    context.strokeStyle = "#ff4fd8";
    context.lineWidth = 1;
    context.beginPath();
    if (x !== null) {
        context.moveTo(frame.x + x * frame.w, frame.y - MARGIN);
        context.lineTo(frame.x + x * frame.w, frame.y + frame.h + MARGIN);
    }
    if (y !== null) {
        context.moveTo(frame.x - MARGIN, frame.y + y * frame.h);
        context.lineTo(frame.x + frame.w + MARGIN, frame.y + y * frame.h);
    }
    context.stroke();
}

/**
 * The selected region's bounding box, with its handles.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Box} box
 */
export function paintSelection(context, scene, box) {
    const { drawing, frame, gesture, tool } = scene;
    const { x, y, w, h } = frame.boxToCanvas(box);
    context.strokeStyle = "#fff";
    context.lineWidth = 1;
    context.setLineDash([4, 3]);
    context.strokeRect(x, y, w, h);
    context.setLineDash([]);
    for (const [, handleX, handleY] of tool.paints ? [] : frame.handles(box)) {
        context.fillStyle = "#fff";
        context.strokeStyle = "#111";
        context.beginPath();
        context.roundRect(handleX - HANDLE, handleY - HANDLE, 2 * HANDLE, 2 * HANDLE, 2);
        context.fill();
        context.stroke();
    }
    if (drawing.isDragging && gesture) paintSize(context, scene, box);
}

/**
 * The size of a box in pixels of the picture, as text below it.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Box} box
 */
export function paintSize(context, { frame, size }, box) {
    const { clientWidth, clientHeight } = context.canvas;
    const { x, y, w, h } = frame.boxToCanvas(box);
    const text = `${Math.round(box.w * size.width)} × ${Math.round(box.h * size.height)}`;
    context.font = FONT;
    context.textBaseline = "middle";
    const width = context.measureText(text).width + 10;
    const left = clamp(x + w / 2 - width / 2, 0, clientWidth - width);
    const top = Math.min(y + h + 8, clientHeight - LINE_HEIGHT - 3);
    context.fillStyle = "rgb(0 0 0 / 0.8)";
    context.beginPath();
    context.roundRect(left, top, width, LINE_HEIGHT + 3, 3);
    context.fill();
    context.fillStyle = "#fff";
    context.fillText(text, left + 5, top + LINE_HEIGHT / 2 + 2);
}

/** The area that the brush covers. @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Point} at */
export function paintBrush(context, { frame, brush, size }, at) {
    const radius = (brush / size.width / 2) * frame.w;
    for (const [color, width] of /** @type {const} */ ([["#000", 3], ["#fff", 1.5]])) {
        context.beginPath();
        context.arc(...frame.toCanvas(at), radius, 0, 2 * Math.PI);
        context.strokeStyle = color;
        context.lineWidth = width;
        context.stroke();
    }
}

/** Shown while there is no region. @param {CanvasRenderingContext2D} context @param {Frame} frame */
export function paintHint(context, frame) {
    context.font = FONT;
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.fillStyle = "rgb(255 255 255 / 0.6)";
    const [x, y] = frame.toCanvas([0.5, 0.5]);
    context.fillText(say("Drag here to draw a region"), x, y - LINE_HEIGHT / 2, frame.w);
    context.fillText(say("or drop a picture to draw over"), x, y + LINE_HEIGHT / 2, frame.w);
    context.textAlign = "start";
}

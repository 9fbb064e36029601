// The canvas on which regions are drawn: passes the pointer to the tool and asks the painter for a new picture.
import { Frame, SMALLEST } from "./frame.js";
import { Painter } from "./painter.js";
import { bounds, clamp } from "./shapes.js";
import { rectangle } from "./tools/rectangle.js";
import { dragHandle } from "./tools/resize.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {import("./frame.js").Handle} Handle
 */

/** @type {Record<Handle, string>} */
const RESIZE_CURSORS = {
    n: "ns-resize",
    s: "ns-resize",
    e: "ew-resize",
    w: "ew-resize",
    nw: "nwse-resize",
    se: "nwse-resize",
    ne: "nesw-resize",
    sw: "nesw-resize",
};

export class View {
    canvas = document.createElement("canvas");
    drawing;
    tool = rectangle;
    snaps = true;
    /** Called when the tool or the brush has changed. */
    onTool = () => {};
    /** Called when the selected region's prompt is to be written. */
    onEdit = () => {};
    /** The same after a stroke, which more of them may follow. */
    onStroke = () => {};
    /** @type {HTMLImageElement | null} the background */
    picture = null;
    /** @type {Gesture | null} */
    gesture = null;
    /** @type {Point | null} where the pointer is; null: outside */
    pointer = null;

    /** @type {Size} */
    #size = { width: 1024, height: 1024 };
    /** @type {number | null} pixels of the picture; null: a tenth of the largest */
    #brush = null;
    #painter = new Painter(this.canvas);
    #animationFrame = 0;
    #observer = new ResizeObserver(() => this.draw());

    /** @param {Drawing} drawing */
    constructor(drawing) {
        this.drawing = drawing;
        drawing.listen(() => this.draw());
        const { canvas } = this;
        canvas.className = "regional-editor-canvas";
        canvas.addEventListener("pointerdown", (event) => this.#onDown(event));
        canvas.addEventListener("pointermove", (event) => this.#onMove(event));
        canvas.addEventListener("pointerup", (event) => this.#onUp(event));
        canvas.addEventListener("pointercancel", () => this.cancel());
        canvas.addEventListener("pointerenter", () => this.draw());
        canvas.addEventListener("pointerleave", () => {
            this.pointer = null;
            this.draw();
        });
        canvas.addEventListener("dblclick", (event) => {
            if (event.button === 0 && drawing.region) this.onEdit();
        });
        this.#observer.observe(canvas);
    }

    destroy() {
        this.#observer.disconnect();
        cancelAnimationFrame(this.#animationFrame);
    }

    /** Of the picture in pixels. */
    get size() {
        return this.#size;
    }

    set size(size) {
        if (size.width === this.#size.width && size.height === this.#size.height) return;
        this.#size = size;
        this.draw();
    }

    /** The brush's diameter in pixels of the picture. */
    get brush() {
        return clamp(this.#brush ?? Math.round(this.largestBrush / 10), SMALLEST, this.largestBrush);
    }

    set brush(pixels) {
        this.#brush = clamp(Math.round(pixels), SMALLEST, this.largestBrush);
        this.onTool();
        this.draw();
    }

    get largestBrush() {
        return Math.min(this.#size.width, this.#size.height);
    }

    get frame() {
        return new Frame(this.canvas.clientWidth, this.canvas.clientHeight, this.#size);
    }

    /** Detail of a hand-drawn line that is dropped, in widths of the picture: less than a pixel of the page. */
    get grain() {
        const zoom = this.canvas.getBoundingClientRect().width / this.canvas.clientWidth;
        return Math.max(0.0007, 0.75 / (zoom * this.frame.w));
    }

    /** @param {Tool} tool */
    use(tool) {
        this.cancel();
        this.tool = tool;
        this.canvas.style.cursor = tool.cursor;
        this.onTool();
    }

    /** Undoes the current drag; returns whether there was one. */
    cancel() {
        const isDragging = this.gesture !== null;
        this.gesture = null;
        this.drawing.cancel();
        this.draw();
        return isDragging;
    }

    /** Draws with the next frame of the page. */
    draw() {
        cancelAnimationFrame(this.#animationFrame);
        this.#animationFrame = requestAnimationFrame(() => this.#painter.paint(this));
    }

    /** @param {PointerEvent} event @returns {Point} of the picture */
    #pointOf(event) {
        // The graph's zoom changes the size on the page, but not clientWidth and clientHeight.
        const { left, top, width, height } = this.canvas.getBoundingClientRect();
        const x = ((event.clientX - left) / width) * this.canvas.clientWidth;
        const y = ((event.clientY - top) / height) * this.canvas.clientHeight;
        return this.frame.toPicture(x, y);
    }

    /** The selected region's handle at a point. @param {Point} at */
    #handleAt(at) {
        const { region } = this.drawing;
        return region && !this.tool.paints ? this.frame.handleAt(bounds(region.shape), at) : null;
    }

    /** @param {PointerEvent} event */
    #onDown(event) {
        // A second finger, too, leaves the current drag alone.
        if (event.button !== 0 || this.drawing.unreadable.reason || this.gesture) return;
        event.preventDefault();
        this.canvas.setPointerCapture(event.pointerId);
        const at = this.#pointOf(event);
        const { region } = this.drawing;
        const handle = this.#handleAt(at);
        this.gesture = region && handle ? dragHandle(this, region, handle) : this.tool.press(this, at);
        if (this.gesture) this.gesture.pointerId = event.pointerId;
        this.draw();
    }

    /** @param {PointerEvent} event */
    #onMove(event) {
        const { gesture, tool } = this;
        if (gesture && event.pointerId !== gesture.pointerId) return;
        const at = this.#pointOf(event);
        this.pointer = at;
        if (gesture) gesture.drag(at, event);
        else this.#showCursor(at);
        if (gesture || tool.paints) this.draw();
    }

    /** @param {PointerEvent} event */
    #onUp(event) {
        const { gesture } = this;
        if (!gesture || event.pointerId !== gesture.pointerId) return;
        this.gesture = null;
        gesture.drop();
        this.draw();
    }

    /** The cursor says what a press would do. @param {Point} at */
    #showCursor(at) {
        const handle = this.#handleAt(at);
        const { tool } = this;
        this.canvas.style.cursor = handle ? RESIZE_CURSORS[handle] : (tool.cursorAt?.(this, at) ?? tool.cursor);
    }
}

// The canvas on which regions are drawn: what it shows, and what the mouse does there.
import { say } from "../words.js";
import {
    HANDLES,
    anchor,
    between,
    bounds,
    clamp,
    contains,
    fit,
    move,
    resize,
    round,
    simplify,
    snap,
    snapLines,
    widest,
} from "./shapes.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {import("./drawing.js").Region} Region
 * @typedef {import("./shapes.js").Box} Box
 * @typedef {import("./shapes.js").Point} Point
 * @typedef {import("./shapes.js").Shape} Shape
 * @typedef {import("./shapes.js").Guides} Guides
 * @typedef {import("./shapes.js").Stroke} Stroke
 * @typedef {"select" | "rect" | "ellipse" | "freehand" | "brush" | "eraser"} Tool
 * @typedef {(to: Point, event: PointerEvent) => void} Drag
 */

const MARGIN = 12; // around the picture, in CSS pixels: room for handles
const HANDLE = 4.5; // half a handle's side
const GRAB = 9; // how near to a handle counts
const REACH = 6; // how near to a line snaps
const CLICK = 3; // how far the mouse may move in a click
const SMALLEST = 4; // pixels of the picture
const GRID = 8; // pixels of the picture
const LINE = 15; // height of a line of text
const FONT = "12px Inter, Arial, sans-serif";

const CURSORS = { n: "ns", s: "ns", e: "ew", w: "ew", nw: "nwse", se: "nwse", ne: "nesw", sw: "nesw" };

export class View {
    canvas = document.createElement("canvas");
    /** @type {Tool} */
    tool = "rect";
    snaps = true;
    /** Called when the tool has changed, and when a region's prompt is to be written. */
    onTool = () => {};
    onEdit = () => {};
    /** @type {HTMLImageElement | null} under the regions */
    picture = null;

    #drawing;
    #size = { width: 1024, height: 1024 }; // of the picture, in its pixels
    /** @type {Drag | null} */
    #drag = null;
    /** @type {((event: PointerEvent) => void) | null} */
    #finish = null;
    /** @type {Shape | null} what is being drawn */
    #draft = null;
    /** @type {Guides} */
    #guides = { x: null, y: null };
    #finger = 0; // the id of the pointer that drags
    /** @type {Point | null} where the mouse is */
    #pointer = null;
    /** @type {number | null} the brush's diameter in pixels of the picture; null: in proportion to it */
    #brush = null;
    #layer = document.createElement("canvas"); // for what is painted and erased
    #frame = 0;
    #observer = new ResizeObserver(() => this.draw());

    /** @param {Drawing} drawing */
    constructor(drawing) {
        this.#drawing = drawing;
        drawing.listen(() => this.draw());
        const { canvas } = this;
        canvas.className = "regional-editor-canvas";
        canvas.addEventListener("pointerdown", (event) => this.#down(event));
        canvas.addEventListener("pointermove", (event) => this.#moved(event));
        canvas.addEventListener("pointerup", (event) => this.#up(event));
        canvas.addEventListener("pointercancel", () => this.cancel());
        canvas.addEventListener("pointerenter", () => this.draw());
        canvas.addEventListener("pointerleave", () => {
            this.#pointer = null;
            this.draw();
        });
        canvas.addEventListener("dblclick", (event) => {
            if (event.button === 0 && drawing.region) this.onEdit();
        });
        this.#observer.observe(canvas);
    }

    destroy() {
        this.#observer.disconnect();
        cancelAnimationFrame(this.#frame);
    }

    get size() {
        return this.#size;
    }

    set size(size) {
        if (size.width === this.#size.width && size.height === this.#size.height) return;
        this.#size = size;
        this.draw();
    }

    get isPainting() {
        return this.tool === "brush" || this.tool === "eraser";
    }

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

    /** @param {Tool} tool */
    use(tool) {
        this.cancel();
        this.tool = tool;
        this.canvas.style.cursor = tool === "select" ? "default" : "crosshair";
        this.onTool();
    }

    /** Takes back what is being dragged. Whether anything was. */
    cancel() {
        const isBusy = this.#drag !== null;
        [this.#drag, this.#finish, this.#draft] = [null, null, null];
        this.#guides = { x: null, y: null };
        this.#drawing.cancel();
        this.draw();
        return isBusy;
    }

    /** Where the picture lies in the canvas, in CSS pixels. @returns {Box} */
    get frame() {
        const [w, h] = [this.canvas.clientWidth - 2 * MARGIN, this.canvas.clientHeight - 2 * MARGIN];
        const { width, height } = this.#size;
        const scale = Math.max(Math.min(w / width, h / height), 0);
        const [x, y] = [MARGIN + (w - width * scale) / 2, MARGIN + (h - height * scale) / 2];
        return { x, y, w: width * scale, h: height * scale };
    }

    /** @param {PointerEvent} event @returns {Point} */
    #at(event) {
        // The graph's zoom scales the page's pixels, not the element's own.
        const { left, top, width, height } = this.canvas.getBoundingClientRect();
        const x = ((event.clientX - left) / width) * this.canvas.clientWidth;
        const y = ((event.clientY - top) / height) * this.canvas.clientHeight;
        const { frame } = this;
        return [(x - frame.x) / frame.w, (y - frame.y) / frame.h];
    }

    /** @param {Box} box in CSS pixels @returns {Box} */
    #onCanvas(box) {
        const { frame } = this;
        const [x, y] = [frame.x + box.x * frame.w, frame.y + box.y * frame.h];
        return { x, y, w: box.w * frame.w, h: box.h * frame.h };
    }

    /** @param {Box} box @returns {[typeof HANDLES[number], number, number][]} */
    #handles(box) {
        const { x, y, w, h } = this.#onCanvas(box);
        return HANDLES.map((name) => [
            name,
            name.includes("w") ? x : name.includes("e") ? x + w : x + w / 2,
            name.includes("n") ? y : name.includes("s") ? y + h : y + h / 2,
        ]);
    }

    /** The selected region's handle at a place. @param {Point} at */
    #handleAt([x, y]) {
        const { region } = this.#drawing;
        if (!region) return null;
        const { frame } = this;
        const [cx, cy] = [frame.x + x * frame.w, frame.y + y * frame.h];
        let [found, nearest] = [/** @type {typeof HANDLES[number] | null} */ (null), GRAB];
        for (const [name, hx, hy] of this.#handles(bounds(region.shape))) {
            const away = Math.max(Math.abs(hx - cx), Math.abs(hy - cy));
            if (away < nearest) [found, nearest] = [name, away];
        }
        return found;
    }

    /** The regions at a place, the uppermost first. @param {Point} at */
    #regionsAt(at) {
        return this.#drawing.regions.filter(({ shape }) => contains(shape, at)).reverse();
    }

    /** @param {PointerEvent} event */
    #down(event) {
        if (event.button !== 0 || this.#drawing.unread.reason || this.#finish) return; // or a second finger
        event.preventDefault();
        this.#finger = event.pointerId;
        this.canvas.setPointerCapture(event.pointerId);
        const at = this.#at(event);
        const handle = this.isPainting ? null : this.#handleAt(at);
        const { region } = this.#drawing;
        if (this.tool === "brush") this.#stroke(at, region?.shape.type === "brush" ? region : null);
        else if (this.tool === "eraser") this.#erase(at);
        else if (region && handle) this.#resize(region, handle);
        else if (this.tool === "select") this.#pick(at);
        else if (this.tool === "freehand") this.#scribble(at);
        else this.#draw(this.tool, at);
        this.draw();
    }

    /** @param {PointerEvent} event */
    #moved(event) {
        if (this.#drag && event.pointerId !== this.#finger) return;
        this.#pointer = this.#at(event);
        if (this.isPainting) this.draw();
        if (this.#drag) {
            this.#drag(this.#at(event), event);
            this.draw();
        } else {
            this.#point(this.#at(event));
        }
    }

    /** @param {PointerEvent} event */
    #up(event) {
        const finish = this.#finish;
        if (!finish || event.pointerId !== this.#finger) return;
        [this.#drag, this.#finish] = [null, null];
        this.#guides = { x: null, y: null };
        finish(event);
        this.#draft = null;
        this.draw();
    }

    /** Shows what the mouse would do. @param {Point} at */
    #point(at) {
        const handle = this.isPainting ? null : this.#handleAt(at);
        let cursor = this.tool === "select" ? "default" : "crosshair";
        if (this.tool === "eraser" && !this.#erasableAt(at)) cursor = "not-allowed";
        if (handle) cursor = `${CURSORS[handle]}-resize`;
        else if (this.tool === "select" && this.#regionsAt(at).length) cursor = "move";
        this.canvas.style.cursor = cursor;
    }

    /** @param {PointerEvent} event @param {Region | null} moving */
    #snapping(event, moving) {
        const isOn = this.snaps && !event.altKey;
        const others = this.#drawing.regions.filter((region) => region !== moving && region.id !== moving?.id);
        const lines = isOn ? snapLines(others.map(({ shape }) => bounds(shape))) : { x: [], y: [] };
        const { frame } = this;
        const along = (/** @type {"x" | "y"} */ axis, /** @type {number[]} */ edges) => {
            const [length, pixels] = axis === "x" ? [frame.w, this.#size.width] : [frame.h, this.#size.height];
            const { shift, line } = snap(edges, lines[axis], REACH / length, isOn ? GRID / pixels : 0);
            this.#guides[axis] = line;
            return shift;
        };
        return along;
    }

    /** @param {Point} at @param {PointerEvent} event @param {Region | null} [moving] @returns {Point} */
    #snapped([x, y], event, moving = null) {
        const along = this.#snapping(event, moving);
        return [clamp(x + along("x", [x]), 0, 1), clamp(y + along("y", [y]), 0, 1)];
    }

    /** @param {Region} region @param {Shape} shape */
    #show(region, shape) {
        const drawing = this.#drawing;
        drawing.drag(drawing.regions.map((one) => (one.id === region.id ? { ...one, shape } : one)));
    }

    /** @param {Region} region @param {typeof HANDLES[number]} handle */
    #resize(region, handle) {
        const box = bounds(region.shape);
        const smallest = /** @type {Point} */ ([SMALLEST / this.#size.width, SMALLEST / this.#size.height]);
        this.#drawing.begin();
        this.#drag = (to, event) => {
            const [x, y] = event.shiftKey ? to : this.#snapped(to, event, region);
            if (!/[we]/.test(handle)) this.#guides.x = null;
            if (!/[ns]/.test(handle)) this.#guides.y = null;
            this.#show(region, fit(region.shape, resize(box, handle, [x, y], smallest, event.shiftKey)));
        };
        this.#finish = () => this.#drawing.drop();
    }

    /** Selects what is there and moves it. @param {Point} at */
    #pick(at) {
        const found = this.#regionsAt(at);
        const was = this.#drawing.region;
        const region = was && found.includes(was) ? was : found[0];
        this.#drawing.select(region?.id ?? null);
        if (!region) return;
        const box = bounds(region.shape);
        const { frame } = this;
        let isClick = true;
        this.#drawing.begin();
        this.#drag = (to, event) => {
            let [dx, dy] = [to[0] - at[0], to[1] - at[1]];
            if (isClick && Math.hypot(dx * frame.w, dy * frame.h) < CLICK) return;
            isClick = false;
            if (event.shiftKey) [dx, dy] = Math.abs(dx * frame.w) > Math.abs(dy * frame.h) ? [dx, 0] : [0, dy];
            const along = this.#snapping(event, region);
            const [x, y] = [box.x + dx, box.y + dy];
            if (dx || !event.shiftKey) dx += along("x", [x, x + box.w / 2, x + box.w]);
            if (dy || !event.shiftKey) dy += along("y", [y, y + box.h / 2, y + box.h]);
            this.#show(region, move(region.shape, dx, dy));
        };
        this.#finish = () => {
            this.#drawing.drop();
            // A click on what is selected goes on to what lies under it.
            const next = found[(found.indexOf(region) + 1) % found.length];
            if (isClick && region === was && next) this.#drawing.select(next.id);
        };
    }

    /** @param {"rect" | "ellipse"} type @param {Point} at */
    #draw(type, at) {
        /** @type {Point | null} */
        let start = null;
        this.#drag = (to, event) => {
            start ??= this.#snapped(at, event);
            let end = this.#snapped(to, event);
            if (event.shiftKey) end = this.#square(start, to);
            this.#draft = { type, ...between(start, end) };
        };
        this.#finish = () => this.#keep(at);
    }

    /** The far corner of a square. @param {Point} start @param {Point} to @returns {Point} */
    #square([x, y], to) {
        const { width, height } = this.#size;
        const [right, down] = [to[0] > x, to[1] > y];
        const wanted = Math.max(Math.abs(to[0] - x) * width, Math.abs(to[1] - y) * height);
        const room = [right ? 1 - x : x, down ? 1 - y : y];
        const side = Math.min(wanted, (room[0] ?? 0) * width, (room[1] ?? 0) * height);
        return [x + ((right ? 1 : -1) * side) / width, y + ((down ? 1 : -1) * side) / height];
    }

    /** @param {Point} at */
    #scribble(at) {
        /** @type {Point[]} */
        const points = [[clamp(at[0], 0, 1), clamp(at[1], 0, 1)]];
        this.#drag = ([x, y]) => {
            points.push([round(clamp(x, 0, 1)), round(clamp(y, 0, 1))]);
            this.#draft = { type: "freehand", points };
        };
        this.#finish = () => {
            const thinned = simplify(points, this.#grain, this.#size.width / this.#size.height);
            this.#draft = thinned.length > 2 ? { type: "freehand", points: thinned } : null;
            this.#keep(at);
        };
    }

    /** Paints on in a region, or, with none, a new one. @param {Point} at @param {Region | null} region */
    #stroke(at, region, erase = false) {
        const { width, height } = this.#size;
        const size = /** @type {Point} */ ([round(this.brush / width), round(this.brush / height)]);
        /** @type {Point[]} */
        const points = [];
        const before = region?.shape.type === "brush" ? region.shape.strokes : [];
        const show = (/** @type {Point[]} */ line) => {
            const shape = { type: /** @type {const} */ ("brush"), strokes: [...before, { points: line, size, erase }] };
            if (region) this.#show(region, shape);
            else this.#draft = shape;
        };
        if (region) this.#drawing.begin();
        this.#drag = ([x, y]) => {
            const point = /** @type {Point} */ ([round(clamp(x, 0, 1)), round(clamp(y, 0, 1))]);
            const last = points.at(-1);
            if (last && last[0] === point[0] && last[1] === point[1]) return;
            points.push(point);
            show(points);
        };
        this.#drag(at, new PointerEvent("pointermove"));
        this.#finish = () => {
            show(simplify(points, this.#grain, width / height));
            if (region) this.#drawing.drop();
            else if (this.#draft) this.#drawing.add(this.#draft);
        };
    }

    /** Only what is painted can be erased: the selected region, or else the uppermost there. @param {Point} at */
    #erasableAt(at) {
        const { region } = this.#drawing;
        return [...(region ? [region] : []), ...this.#regionsAt(at)].find(({ shape }) => shape.type === "brush");
    }

    /** @param {Point} at */
    #erase(at) {
        const painted = this.#erasableAt(at);
        if (!painted) return;
        this.#drawing.select(painted.id);
        this.#stroke(at, painted, true);
    }

    /** What a hand cannot mean, in widths of the picture: less than a pixel of the page. */
    get #grain() {
        const zoom = this.canvas.getBoundingClientRect().width / this.canvas.clientWidth;
        return Math.max(0.0007, 0.75 / (zoom * this.frame.w));
    }

    /** Makes a region of what was drawn; a click selects instead. @param {Point} at */
    #keep(at) {
        const draft = this.#draft;
        const box = draft && bounds(draft);
        if (draft && box && box.w * this.#size.width >= SMALLEST && box.h * this.#size.height >= SMALLEST) {
            this.#drawing.add(fit(draft, box));
            this.use("select");
            this.onEdit();
        } else {
            this.#drawing.select(this.#regionsAt(at)[0]?.id ?? null);
            if (this.#drawing.region) this.use("select");
        }
    }

    // What is shown

    draw() {
        cancelAnimationFrame(this.#frame);
        this.#frame = requestAnimationFrame(() => this.#paint());
    }

    #paint() {
        const { canvas } = this;
        const context = canvas.getContext("2d");
        const [width, height] = [canvas.clientWidth, canvas.clientHeight];
        if (!context || !width || !height) return;
        // As sharp as the page shows it at the graph's zoom, within reason.
        const zoom = canvas.getBoundingClientRect().width / width;
        const scale = clamp(zoom * devicePixelRatio, 1, 3);
        const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
        if (canvas.width !== w) canvas.width = w;
        if (canvas.height !== h) canvas.height = h;
        context.setTransform(scale, 0, 0, scale, 0, 0);
        context.clearRect(0, 0, width, height);
        const { frame } = this;
        this.#paintGround(context, frame);
        const { regions } = this.#drawing;
        for (const region of regions) this.#paintRegion(context, region);
        for (const [index, region] of regions.entries()) this.#paintWords(context, region, index + 1);
        if (this.#draft) this.#paintDraft(context, this.#draft);
        this.#paintGuides(context, frame);
        const { region } = this.#drawing;
        if (region) this.#paintSelection(context, region);
        else if (!this.#drawing.regions.length && !this.#draft) this.#paintHint(context, frame);
        if (this.isPainting && this.#pointer) this.#paintBrush(context, this.#pointer);
    }

    /** @param {CanvasRenderingContext2D} context @param {Box} frame */
    #paintGround(context, frame) {
        context.fillStyle = "#1b1c1f";
        context.fillRect(frame.x, frame.y, frame.w, frame.h);
        if (this.picture) {
            context.drawImage(this.picture, frame.x, frame.y, frame.w, frame.h);
        } else {
            context.beginPath();
            for (let part = 1; part < 8; part++) {
                context.moveTo(frame.x + (frame.w * part) / 8, frame.y);
                context.lineTo(frame.x + (frame.w * part) / 8, frame.y + frame.h);
                context.moveTo(frame.x, frame.y + (frame.h * part) / 8);
                context.lineTo(frame.x + frame.w, frame.y + (frame.h * part) / 8);
            }
            context.strokeStyle = "rgb(255 255 255 / 0.06)";
            context.lineWidth = 1;
            context.stroke();
        }
        context.strokeStyle = "rgb(255 255 255 / 0.25)";
        context.lineWidth = 1;
        context.strokeRect(frame.x - 0.5, frame.y - 0.5, frame.w + 1, frame.h + 1);
    }

    /** @param {Exclude<Shape, import("./shapes.js").Brush>} shape */
    #path(shape) {
        const path = new Path2D();
        const { x, y, w, h } = this.#onCanvas(bounds(shape));
        if (shape.type === "rect") path.rect(x, y, w, h);
        else if (shape.type === "ellipse") path.ellipse(x + w / 2, y + h / 2, w / 2, h / 2, 0, 0, 2 * Math.PI);
        else {
            const { frame } = this;
            for (const [px, py] of shape.points) path.lineTo(frame.x + px * frame.w, frame.y + py * frame.h);
            path.closePath();
        }
        return path;
    }

    /** @param {CanvasRenderingContext2D} context @param {Region} region */
    #paintRegion(context, region) {
        const { shape } = region;
        const isSelected = region.id === this.#drawing.selected;
        if (shape.type === "brush") {
            const opacity = region.enabled ? (isSelected ? 0.6 : 0.45) : 0.15;
            return this.#paintStrokes(context, shape.strokes, region.color, opacity);
        }
        const path = this.#path(shape);
        context.save();
        if (!region.enabled) context.globalAlpha = 0.4;
        context.fillStyle = `${region.color}${region.enabled ? (isSelected ? "80" : "59") : "20"}`;
        context.fill(path);
        context.strokeStyle = region.color;
        context.lineWidth = isSelected ? 2 : 1.5;
        context.setLineDash(region.enabled ? [] : [5, 4]);
        context.stroke(path);
        context.restore();
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {Stroke[]} strokes
     * @param {string} color
     * @param {number} opacity of all of them together
     */
    #paintStrokes(context, strokes, color, opacity) {
        const layer = this.#layer;
        const painter = layer.getContext("2d");
        if (!painter || !this.canvas.width || !this.canvas.height) return;
        if (layer.width !== this.canvas.width) layer.width = this.canvas.width;
        if (layer.height !== this.canvas.height) layer.height = this.canvas.height;
        const { frame } = this;
        painter.save();
        painter.clearRect(0, 0, layer.width, layer.height);
        painter.setTransform(context.getTransform());
        painter.beginPath();
        painter.rect(frame.x, frame.y, frame.w, frame.h);
        painter.clip();
        Object.assign(painter, { strokeStyle: color, lineWidth: 1, lineCap: "round", lineJoin: "round" });
        for (const { points, size, erase } of strokes) {
            painter.globalCompositeOperation = erase ? "destination-out" : "source-over";
            // In widths and heights of the brush, which is round there.
            painter.setTransform(context.getTransform());
            painter.translate(frame.x, frame.y);
            painter.scale(frame.w * size[0], frame.h * size[1]);
            painter.beginPath();
            for (const [x, y] of points) painter.lineTo(x / size[0], y / size[1]);
            const [x, y] = points[0] ?? [0, 0];
            if (points.length === 1) painter.lineTo(x / size[0] + 0.001, y / size[1]);
            painter.stroke();
        }
        painter.restore();
        context.save();
        context.resetTransform();
        context.globalAlpha = opacity;
        context.drawImage(layer, 0, 0);
        context.restore();
    }

    /** How much the brush covers. @param {CanvasRenderingContext2D} context @param {Point} at */
    #paintBrush(context, [x, y]) {
        const { frame } = this;
        const radius = (this.brush / this.#size.width / 2) * frame.w;
        for (const [color, width] of /** @type {const} */ ([["#000", 3], ["#fff", 1.5]])) {
            context.beginPath();
            context.arc(frame.x + x * frame.w, frame.y + y * frame.h, radius, 0, 2 * Math.PI);
            context.strokeStyle = color;
            context.lineWidth = width;
            context.stroke();
        }
    }

    /** Where a region's words go, in CSS pixels: at its upper left corner, or in its middle. @param {Shape} shape */
    #wordsOf(shape) {
        const box = this.#onCanvas(bounds(shape));
        if (shape.type === "rect") return { left: box.x + 3, width: box.w - 6, top: box.y + 3, height: box.h - 6 };
        if (shape.type === "ellipse") {
            const [width, height] = [box.w * 0.7, box.h * 0.7];
            return { left: box.x + box.w * 0.15, width, top: box.y + box.h * 0.15, height };
        }
        if (shape.type === "brush") {
            const [middle, top] = anchor(shape);
            const at = this.#onCanvas({ x: middle, y: top, w: 0, h: 0 });
            const width = Math.max(box.w * 0.8, 60);
            const { frame } = this;
            const left = clamp(at.x - width / 2, frame.x, Math.max(frame.x + frame.w - width, frame.x));
            return { left, width, top: at.y - LINE / 2, height: 3 * LINE };
        }
        const line = widest(shape);
        const { x, y, w } = this.#onCanvas({ ...line, h: 0 });
        const height = Math.min(2 * (y - box.y), 2 * (box.y + box.h - y), 4 * LINE + 8);
        return { left: x + w * 0.1, width: w * 0.8, top: y - Math.max(height, LINE) / 2, height };
    }

    /** @param {CanvasRenderingContext2D} context @param {Region} region @param {number} number */
    #paintWords(context, region, number) {
        const { left, width, top, height } = this.#wordsOf(region.shape);
        const at = (/** @type {number} */ wide) => (region.shape.type === "rect" ? left : left + (width - wide) / 2);
        context.save();
        if (!region.enabled) context.globalAlpha = 0.5;
        if (region.shape.type !== "brush") context.clip(this.#path(region.shape)); // on strokes words are wider
        context.font = FONT;
        context.textBaseline = "middle";
        const label = shorten(context, `${number}  ${region.name}`, Math.max(width - 10, 12));
        const wide = context.measureText(label).width + 10;
        context.fillStyle = region.color;
        context.beginPath();
        context.roundRect(at(wide), top, wide, LINE + 3, 3);
        context.fill();
        context.fillStyle = isLight(region.color) ? "#111" : "#fff";
        context.fillText(label, at(wide) + 5, top + LINE / 2 + 2);
        context.fillStyle = "#fff";
        context.shadowColor = "#000";
        context.shadowBlur = 3;
        let words = region.prompt.trim();
        if (!words && region.enabled) {
            words = say("no prompt: the base paints here");
            context.font = `italic ${FONT}`;
        }
        const lines = wrap(context, words, width - 6, Math.floor((height - LINE - 5) / LINE));
        for (const [index, line] of lines.entries()) {
            const x = at(context.measureText(line).width + 6) + 3;
            context.fillText(line, x, top + LINE + 12 + index * LINE);
        }
        context.restore();
    }

    /** @param {CanvasRenderingContext2D} context @param {Shape} shape */
    #paintDraft(context, shape) {
        if (shape.type === "brush") return this.#paintStrokes(context, shape.strokes, "#fff", 0.4);
        const path = this.#path(shape);
        context.fillStyle = "rgb(255 255 255 / 0.15)";
        context.fill(path);
        context.strokeStyle = "#fff";
        context.lineWidth = 1.5;
        context.setLineDash([5, 4]);
        context.stroke(path);
        context.setLineDash([]);
        if (shape.type !== "freehand") this.#paintSize(context, bounds(shape));
    }

    /** @param {CanvasRenderingContext2D} context @param {Box} frame */
    #paintGuides(context, frame) {
        context.strokeStyle = "#ff4fd8";
        context.lineWidth = 1;
        context.beginPath();
        const { x, y } = this.#guides;
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

    /** @param {CanvasRenderingContext2D} context @param {Region} region */
    #paintSelection(context, region) {
        const box = bounds(region.shape);
        const { x, y, w, h } = this.#onCanvas(box);
        context.strokeStyle = "#fff";
        context.lineWidth = 1;
        context.setLineDash([4, 3]);
        context.strokeRect(x, y, w, h);
        context.setLineDash([]);
        for (const [, hx, hy] of this.isPainting ? [] : this.#handles(box)) {
            context.fillStyle = "#fff";
            context.strokeStyle = "#111";
            context.beginPath();
            context.roundRect(hx - HANDLE, hy - HANDLE, 2 * HANDLE, 2 * HANDLE, 2);
            context.fill();
            context.stroke();
        }
        if (this.#drawing.isDragging && this.#drag) this.#paintSize(context, box);
    }

    /** @param {CanvasRenderingContext2D} context @param {Box} box */
    #paintSize(context, box) {
        const { width, height } = this.#size;
        const { x, y, w, h } = this.#onCanvas(box);
        const words = `${Math.round(box.w * width)} × ${Math.round(box.h * height)}`;
        context.font = FONT;
        context.textBaseline = "middle";
        const wide = context.measureText(words).width + 10;
        const left = clamp(x + w / 2 - wide / 2, 0, this.canvas.clientWidth - wide);
        const top = Math.min(y + h + 8, this.canvas.clientHeight - LINE - 3);
        context.fillStyle = "rgb(0 0 0 / 0.8)";
        context.beginPath();
        context.roundRect(left, top, wide, LINE + 3, 3);
        context.fill();
        context.fillStyle = "#fff";
        context.fillText(words, left + 5, top + LINE / 2 + 2);
    }

    /** @param {CanvasRenderingContext2D} context @param {Box} frame */
    #paintHint(context, frame) {
        context.font = FONT;
        context.textBaseline = "middle";
        context.textAlign = "center";
        context.fillStyle = "rgb(255 255 255 / 0.6)";
        const [x, y] = [frame.x + frame.w / 2, frame.y + frame.h / 2];
        context.fillText(say("Drag here to draw a region"), x, y - LINE / 2, frame.w);
        context.fillText(say("or drop a picture to draw over"), x, y + LINE / 2, frame.w);
        context.textAlign = "start";
    }
}

/** @param {string} color #rrggbb */
function isLight(color) {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    return 0.3 * (r ?? 0) + 0.59 * (g ?? 0) + 0.11 * (b ?? 0) > 140;
}

/** @param {CanvasRenderingContext2D} context @param {string} words @param {number} width */
function shorten(context, words, width) {
    if (context.measureText(words).width <= width) return words;
    let left = words.slice(0, 200);
    while (left && context.measureText(`${left}…`).width > width) left = left.slice(0, -1);
    return `${left}…`;
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} width @param {number} most lines */
function wrap(context, text, width, most) {
    /** @type {string[]} */
    const lines = [];
    let line = "";
    for (const word of text.slice(0, 2000).split(/\s+/).filter(Boolean)) {
        if (lines.length >= most) return lines;
        const longer = line ? `${line} ${word}` : word;
        if (line && context.measureText(longer).width > width) {
            lines.push(line);
            line = word;
        } else {
            line = longer;
        }
    }
    return lines.length < most && line ? [...lines, shorten(context, line, width)] : lines;
}

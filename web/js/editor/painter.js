// Paints the canvas of the editor: background, regions, the shape being drawn.
import { paintLabel } from "./labels.js";
import { paintBrush, paintGuides, paintHint, paintSelection, paintSize } from "./marks.js";
import { outline } from "./outline.js";
import { bounds, clamp } from "./shapes.js";

/**
 * @typedef {import("./shapes.js").Stroke} Stroke
 * @typedef {import("./frame.js").Frame} Frame
 */

export class Painter {
    #canvas;
    // Strokes overlap and erase: they are painted here, then copied to the canvas at one opacity.
    #layer = document.createElement("canvas");

    /** @param {HTMLCanvasElement} canvas */
    constructor(canvas) {
        this.#canvas = canvas;
    }

    /** @param {Scene} scene */
    paint(scene) {
        const canvas = this.#canvas;
        const context = canvas.getContext("2d");
        const [width, height] = [canvas.clientWidth, canvas.clientHeight];
        if (!context || !width || !height) return;
        // As many pixels as the page shows at the graph's zoom; at most 3 per CSS pixel, to limit memory.
        const zoom = canvas.getBoundingClientRect().width / width;
        const scale = clamp(zoom * devicePixelRatio, 1, 3);
        const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
        if (canvas.width !== w) canvas.width = w;
        if (canvas.height !== h) canvas.height = h;
        context.setTransform(scale, 0, 0, scale, 0, 0);
        context.clearRect(0, 0, width, height);

        const { drawing, frame, gesture, pointer, tool } = scene;
        const { region: selected, regions } = drawing;
        paintBackground(context, frame, scene.picture);
        for (const region of regions) this.#paintRegion(context, frame, region, region === selected);
        for (const [index, region] of regions.entries()) paintLabel(context, frame, region, index + 1);
        if (gesture?.draft) this.#paintDraft(context, scene, gesture.draft);
        if (gesture?.guides) paintGuides(context, frame, gesture.guides);
        if (selected) paintSelection(context, scene, bounds(selected.shape));
        else if (!regions.length && !gesture?.draft) paintHint(context, frame);
        if (tool.paints && pointer) paintBrush(context, scene, pointer);
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {Frame} frame
     * @param {Region} region
     * @param {boolean} isSelected
     */
    #paintRegion(context, frame, region, isSelected) {
        const { shape } = region;
        if (shape.type === "brush") {
            const opacity = region.enabled ? (isSelected ? 0.6 : 0.45) : 0.15;
            return this.#paintStrokes(context, frame, shape.strokes, region.color, opacity);
        }
        const path = outline(shape, frame);
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

    /** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Shape} shape */
    #paintDraft(context, scene, shape) {
        const { frame } = scene;
        if (shape.type === "brush") return this.#paintStrokes(context, frame, shape.strokes, "#fff", 0.4);
        const path = outline(shape, frame);
        context.fillStyle = "rgb(255 255 255 / 0.15)";
        context.fill(path);
        context.strokeStyle = "#fff";
        context.lineWidth = 1.5;
        context.setLineDash([5, 4]);
        context.stroke(path);
        context.setLineDash([]);
        if (shape.type !== "freehand") paintSize(context, scene, bounds(shape));
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {Frame} frame
     * @param {Stroke[]} strokes
     * @param {string} color
     * @param {number} opacity of all strokes together
     */
    #paintStrokes(context, frame, strokes, color, opacity) {
        const [canvas, layer] = [this.#canvas, this.#layer];
        const painter = layer.getContext("2d");
        if (!painter || !canvas.width || !canvas.height) return;
        if (layer.width !== canvas.width) layer.width = canvas.width;
        if (layer.height !== canvas.height) layer.height = canvas.height;
        painter.save();
        painter.clearRect(0, 0, layer.width, layer.height);
        painter.setTransform(context.getTransform());
        painter.beginPath();
        painter.rect(frame.x, frame.y, frame.w, frame.h);
        painter.clip();
        Object.assign(painter, { strokeStyle: color, lineWidth: 1, lineCap: "round", lineJoin: "round" });
        for (const { points, size, erase } of strokes) {
            painter.globalCompositeOperation = erase ? "destination-out" : "source-over";
            // Scaled so that the brush, an ellipse if its shape was stretched, is a circle of diameter 1.
            painter.setTransform(context.getTransform());
            painter.translate(frame.x, frame.y);
            painter.scale(frame.w * size[0], frame.h * size[1]);
            painter.beginPath();
            for (const [x, y] of points) painter.lineTo(x / size[0], y / size[1]);
            const [x, y] = points[0] ?? [0, 0];
            if (points.length === 1) painter.lineTo(x / size[0] + 0.001, y / size[1]); // no length would paint nothing
            painter.stroke();
        }
        painter.restore();
        context.save();
        context.resetTransform();
        context.globalAlpha = opacity;
        context.drawImage(layer, 0, 0);
        context.restore();
    }
}

/** @param {CanvasRenderingContext2D} context @param {Frame} frame @param {HTMLImageElement | null} picture */
function paintBackground(context, frame, picture) {
    context.fillStyle = "#1b1c1f";
    context.fillRect(frame.x, frame.y, frame.w, frame.h);
    if (picture) {
        context.drawImage(picture, frame.x, frame.y, frame.w, frame.h);
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

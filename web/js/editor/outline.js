import { bounds } from "./shapes.js";

/**
 * The outline of a shape in CSS pixels of the canvas element.
 *
 * @param {Exclude<Shape, import("./shapes.js").Brush>} shape
 * @param {import("./frame.js").Frame} frame
 */
export function outline(shape, frame) {
    const path = new Path2D();
    const { x, y, w, h } = frame.boxToCanvas(bounds(shape));
    if (shape.type === "rect") path.rect(x, y, w, h);
    else if (shape.type === "ellipse") path.ellipse(x + w / 2, y + h / 2, w / 2, h / 2, 0, 0, 2 * Math.PI);
    else {
        for (const point of shape.points) path.lineTo(...frame.toCanvas(point));
        path.closePath();
    }
    return path;
}

// A stage for the tools without a page: the canvas shows a picture of 1000 x 500 pixels at one pixel per CSS pixel.
import { Drawing } from "../../web/js/editor/drawing.js";
import { Frame } from "../../web/js/editor/frame.js";

export const NO_KEYS = { altKey: false, shiftKey: false };

export class TestStage {
    drawing = new Drawing();
    size = { width: 1000, height: 500 };
    frame = new Frame(1024, 524, this.size);
    brush = 100;
    grain = 0.001;
    snaps = false;
    tool = null;
    edits = 0;
    strokes = 0;

    use(tool) {
        this.tool = tool;
    }

    onEdit() {
        this.edits++;
    }

    onStroke() {
        this.strokes++;
    }

    cancel() {
        return false;
    }

    /** Presses with a tool at the first point, drags through the others and releases. Returns the last gesture. */
    drag(tool, points, keys = {}) {
        const gesture = tool.press(this, points[0]);
        for (const point of points.slice(1)) gesture?.drag(point, { ...NO_KEYS, ...keys });
        gesture?.drop();
        return gesture;
    }

    get shapes() {
        return this.drawing.regions.map(({ shape }) => shape);
    }

    get selectedName() {
        return this.drawing.region?.name;
    }
}

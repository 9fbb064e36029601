// The editor's drawing tools. Points and boxes run from 0 (left, top) to 1 (right, bottom) of the picture.

type Point = import("../web/js/editor/shapes.js").Point;
type Shape = import("../web/js/editor/shapes.js").Shape;
type Region = import("../web/js/editor/drawing_json.js").Region;

/** Width and height in pixels. */
type Size = { width: number; height: number };

/** The lines that the dragged edges have snapped to; null: none. */
type Guides = { x: number | null; y: number | null };

/** The modifier keys that are held during a drag. */
type Modifiers = { altKey: boolean; shiftKey: boolean };

/** One drag, from press to release. */
interface Gesture {
    /** Of the pointer that drags. */
    pointerId?: number;
    /** The shape drawn so far, which is no region yet. */
    draft?: Shape | null;
    guides?: Guides;
    drag(to: Point, keys: Modifiers): void;
    /** Called on release; a cancelled gesture is dropped without it. */
    drop(): void;
}

/** What the view offers to the tools. */
interface Stage {
    drawing: import("../web/js/editor/drawing.js").Drawing;
    /** Of the picture. */
    size: Size;
    frame: import("../web/js/editor/frame.js").Frame;
    /** Diameter in pixels of the picture. */
    brush: number;
    /** Detail of a hand-drawn line that is dropped, in widths of the picture. */
    grain: number;
    snaps: boolean;
    use(tool: Tool): void;
    /** Asks for the selected region's prompt. */
    onEdit(): void;
    /** The same after a stroke, which more of them may follow. */
    onStroke(): void;
}

interface Tool {
    name: "select" | "rect" | "ellipse" | "freehand" | "brush" | "eraser";
    /** The key that selects it. */
    key: string;
    title(): string;
    /** Whether it draws with the brush: then the pointer is a circle and regions have no handles. */
    paints?: boolean;
    cursor: string;
    /** The cursor at a point, where it differs from `cursor`. */
    cursorAt?(stage: Stage, at: Point): string;
    /** Null: nothing follows the pointer. */
    press(stage: Stage, at: Point): Gesture | null;
}

/** What the painter shows. */
interface Scene extends Stage {
    tool: Tool;
    gesture: Gesture | null;
    /** Where the pointer is; null: outside. */
    pointer: Point | null;
    /** The background. */
    picture: HTMLImageElement | null;
}

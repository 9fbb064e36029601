// RegionEditor's widget: the drawing, its canvas, its tools and its list, on one element of the page.
import { app } from "../../../../scripts/app.js";
import { chain, pauseHistory } from "../host.js";
import { say } from "../words.js";
import { background, isLinked, upload } from "./background.js";
import { Drawing, MAX_REGIONS, choose, parse, stringify } from "./drawing.js";
import { List } from "./list.js";
import { button, element, loadStyle } from "./page.js";
import { View } from "./view.js";

/** @typedef {import("./view.js").Tool} Tool */

export const WIDGET = "REGIONAL_SAMPLING_DRAWING"; // as nodes/editor.py declares it
const SIZE = { minWidth: 900, minHeight: 940 }; // of a new node
const MIN_HEIGHT = 400;
const TEXT_HEIGHT = 72; // of the base's prompts on the classic canvas, where all of a node's room is shared out else

/** @type {() => [Tool, string][]} */
const TOOLS = () => [
    ["select", say("Select, move and resize (V)")],
    ["rect", say("Draw a rectangle (R)")],
    ["ellipse", say("Draw an ellipse (E)")],
    ["freehand", say("Draw freehand (F)")],
    ["brush", say("Paint with a brush (B): adds to the selected painted region; press Escape first for a new one")],
    ["eraser", say("Erase from the selected painted region (X)")],
];
/** @type {Record<string, Tool>} */
const TOOL_KEYS = { v: "select", r: "rect", e: "ellipse", f: "freehand", b: "brush", x: "eraser" };
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Makes the widget; ComfyUI calls this for the input that is declared with its type.
 *
 * @param {GraphNode} node
 * @param {string} name
 */
export function drawingWidget(node, name) {
    loadStyle();
    const host = /** @type {EditorNode} */ (node);
    const editor = new Editor(host, name);
    const widget = host.addDOMWidget(name, WIDGET, editor.root, {
        hideOnZoom: false,
        getMinHeight: () => MIN_HEIGHT,
        getValue: () => editor.drawing.json,
        setValue: (/** @type {string} */ value) => void (editor.drawing.json = String(value ?? "")),
    });
    editor.onStep = () => widget.callback?.(widget.value);
    widget.serializeValue = () => editor.prompted;
    const { onRemove } = widget;
    widget.onRemove = function () {
        onRemove?.call(this);
        editor.destroy();
    };
    return { widget, ...SIZE };
}

/** @param {GraphNode} node a RegionEditor, just made */
export function fitTexts(node) {
    for (const widget of node.widgets ?? []) {
        if (widget.name === "positive" || widget.name === "negative") {
            Object.assign(widget.options, { getMinHeight: () => TEXT_HEIGHT, getMaxHeight: () => TEXT_HEIGHT });
        }
    }
}

class Editor {
    drawing = new Drawing();
    root = element("div", { className: "regional-editor", title: "" });
    onStep = () => {};

    #node;
    #view = new View(this.drawing);
    #list = new List(this.drawing, () => this.#view.size);
    // Has the keyboard. The host leaves keys alone that are pressed in an input: Delete is not for the node here, and
    // Ctrl+Z not for the graph.
    #keys = element("input", { className: "keys", type: "text", readOnly: true, ariaLabel: say("Regions") });
    #message = element("div", { className: "message", hidden: true });
    #files = element("input", { type: "file", accept: "image/*", hidden: true });
    #brush = element("input", {
        type: "range",
        title: say("Brush size ([ and ])"),
        ariaLabel: say("Brush size ([ and ])"), // not the number beside it
    });
    #status = element("div", { className: "status" });
    /** @type {Map<string, HTMLButtonElement>} */
    #buttons = new Map();
    /** @type {import("./drawing.js").Picture | null} */
    #executed = null;
    #shown = ""; // the address of the background
    #end = new AbortController();

    /** @param {EditorNode} node @param {string} name of the input */
    constructor(node, name) {
        this.#node = node;
        this.name = name;
        this.drawing.onFull = () =>
            this.#tell("warn", say("A drawing has at most {count} regions.", { count: MAX_REGIONS }));
        this.#view.onTool = () => this.#showTools();
        this.#view.onEdit = () => this.#list.edit();
        const stage = element("div", { className: "stage" });
        stage.append(this.#keys, this.#view.canvas, this.#message);
        const left = element("div", { className: "left" });
        left.append(this.#tools(), this.#status, stage);
        const panes = element("div", { className: "panes" });
        panes.append(left, this.#list.root);
        this.root.append(panes, this.#files);

        this.drawing.listen((isStep) => {
            // With nothing to select, the next drag draws.
            const bare = !this.drawing.regions.length && this.#view.tool === "select";
            if (isStep === null || bare) this.#view.use(this.drawing.regions.length ? "select" : "rect");
            this.#showTools();
            this.#showBackground();
            if (isStep) this.#step();
        });
        this.root.addEventListener("keydown", (event) => this.#key(event));
        this.root.addEventListener("keyup", (event) => event.stopPropagation());
        // Before the canvas: a field that loses the focus may have a value to give, which would take a new drag back.
        this.root.addEventListener("pointerdown", (event) => this.#focus(event), true);
        for (const type of ["copy", "cut", "paste"]) {
            this.root.addEventListener(type, (event) => event.stopPropagation());
        }
        this.#files.addEventListener("change", () => {
            const file = this.#files.files?.[0];
            this.#files.value = "";
            if (file) this.#take(file);
        });
        // In Nodes 2.0 the input's tooltip would lie on what is drawn.
        this.root.addEventListener("mouseenter", () => {
            this.root.closest("[data-pd-tooltip]")?.dispatchEvent(new MouseEvent("mouseleave"));
        });
        this.#acceptDrops();
        this.#leaveTheGraphItsMouse();
        this.#followNode();
        this.#showTools();
    }

    destroy() {
        this.#view.destroy();
        this.#end.abort();
    }

    /** What a run gets: the drawing with {a|b} chosen in its prompts. */
    get prompted() {
        const { json, unread } = this.drawing;
        if (unread.reason) return json;
        const moment = parse(json);
        const regions = moment.regions.map((region) => ({ ...region, prompt: choose(region.prompt) }));
        return stringify({ ...moment, regions });
    }

    #step() {
        const resume = pauseHistory();
        this.onStep();
        this.#node.graph?.setDirtyCanvas(true, true);
        resume();
    }

    #tools() {
        const bar = element("div", { className: "tools" });
        const add = (/** @type {Parameters<typeof button>} */ ...[icon, title, action]) => {
            const made = button(icon, title, () => {
                action();
                this.#keys.focus({ preventScroll: true });
            });
            this.#buttons.set(icon, made);
            bar.append(made);
        };
        const gap = () => bar.append(element("span", { className: "gap" }));
        const ofRegion = (/** @type {(id: number) => void} */ action) => () => {
            if (this.drawing.selected !== null) action(this.drawing.selected);
        };
        for (const [tool, title] of TOOLS()) add(tool, title, () => this.#view.use(tool));
        this.#brush.addEventListener("input", () => void (this.#view.brush = this.#brush.valueAsNumber));
        this.#brush.addEventListener("pointerup", () => this.#keys.focus({ preventScroll: true }));
        const brush = element("label", { className: "brush" });
        brush.append(this.#brush, element("output"));
        this.#status.append(brush, element("span"));
        gap();
        add("undo", say("Undo (Ctrl+Z)"), () => this.drawing.undo());
        add("redo", say("Redo (Ctrl+Y)"), () => this.drawing.redo());
        gap();
        add("duplicate", say("Duplicate (Ctrl+D)"), ofRegion((id) => this.drawing.duplicate(id)));
        add("mirrorX", say("Mirror left and right (H)"), ofRegion((id) => this.drawing.mirror(id, "x")));
        add("mirrorY", say("Mirror top and bottom (Shift+H)"), ofRegion((id) => this.drawing.mirror(id, "y")));
        add("remove", say("Remove (Delete)"), ofRegion((id) => this.drawing.remove(id)));
        add("clear", say("Remove all regions"), () => this.drawing.clear());
        gap();
        add("snap", say("Snap to edges and the grid (Alt turns it off while dragging)"), () => {
            this.#view.snaps = !this.#view.snaps;
            this.#showTools();
        });
        add("picture", say("Choose a background picture, or drop one on the canvas"), () => this.#files.click());
        add("pictureOff", say("Remove the background picture"), () => this.drawing.change({ background: null }));
        return bar;
    }

    #showTools() {
        const { drawing } = this;
        const press = (/** @type {string} */ name, /** @type {boolean} */ isOn) =>
            this.#buttons.get(name)?.setAttribute("aria-pressed", String(isOn));
        const enable = (/** @type {string} */ name, /** @type {boolean} */ isOn) => {
            const made = this.#buttons.get(name);
            if (made) made.disabled = !isOn;
        };
        for (const [tool] of TOOLS()) press(tool, this.#view.tool === tool);
        press("snap", this.#view.snaps);
        this.#showStatus();
        enable("undo", drawing.canUndo);
        enable("redo", drawing.canRedo);
        for (const name of ["duplicate", "mirrorX", "mirrorY", "remove"]) enable(name, drawing.selected !== null);
        enable("pictureOff", drawing.background !== null);
        enable("clear", drawing.regions.length > 0);
        const { reason } = drawing.unread;
        this.#message.hidden = !reason;
        if (reason && this.#message.dataset.reason !== reason) {
            const clear = element("button", { type: "button", textContent: say("Clear the drawing") });
            clear.addEventListener("click", () => {
                drawing.json = "";
                this.#step();
            });
            const textContent = `${reason} ${say("It is kept as it is.")}`;
            this.#message.replaceChildren(element("p", { textContent }), clear);
        }
        this.#message.dataset.reason = reason;
    }

    #showStatus() {
        const { brush, largestBrush, isPainting, tool } = this.#view;
        const [label, words] = this.#status.children;
        if (!label || !words) return;
        label.toggleAttribute("hidden", !isPainting);
        Object.assign(this.#brush, { min: "4", max: String(largestBrush), value: String(brush) });
        if (this.#brush.nextElementSibling) this.#brush.nextElementSibling.textContent = `${brush} px`;
        words.textContent = TOOLS().find(([one]) => one === tool)?.[1] ?? "";
    }

    /** A click on anything but a field gives the keys to the canvas. @param {PointerEvent} event */
    #focus(event) {
        if (!(event.target instanceof Element)) return;
        if (event.target.closest("input:not(.keys), textarea, button")) return;
        event.preventDefault();
        this.#keys.focus({ preventScroll: true });
    }

    /** @param {KeyboardEvent} event */
    #key(event) {
        event.stopPropagation(); // nothing is for the graph here
        if (event.target !== this.#keys) {
            if (event.key === "Escape") this.#keys.focus({ preventScroll: true });
            // After a region is drawn its prompt has the focus; with nothing written there is nothing else to undo.
            const isBare = event.target instanceof HTMLTextAreaElement && !event.target.value;
            if (!isBare || !(event.ctrlKey || event.metaKey)) return;
        }
        if (!this.#act(event)) return;
        event.preventDefault();
        // The prompt may be gone, and keys that nobody has are the graph's.
        if (event.target !== this.#keys) this.#keys.focus({ preventScroll: true });
    }

    /** @param {KeyboardEvent} event @returns {boolean} whether the key was for the editor */
    #act(event) {
        const { drawing } = this;
        const { selected } = drawing;
        const key = latin(event);
        if (event.ctrlKey || event.metaKey) {
            if (key === "z" && !event.shiftKey) drawing.undo();
            else if (key === "y" || key === "z") drawing.redo();
            else if (selected === null) return key === "d";
            else if (key === "d") drawing.duplicate(selected);
            else if (key === "[") drawing.shift(selected, -1);
            else if (key === "]") drawing.shift(selected, 1);
            else return false;
            return true;
        }
        if (event.altKey) return false;
        const arrow = ARROWS[key];
        const tool = TOOL_KEYS[key];
        if (key === "Escape") {
            if (!this.#view.cancel()) drawing.select(null);
        } else if (tool) {
            this.#view.use(tool);
        } else if (this.#view.isPainting && (key === "[" || key === "]")) {
            this.#view.brush *= key === "]" ? 1.2 : 1 / 1.2;
        } else if (key === "Tab") {
            return false;
        } else if (selected === null) {
            return Boolean(arrow);
        } else if (arrow) {
            const { width, height } = this.#view.size;
            const far = event.shiftKey ? 10 : 1;
            drawing.move(selected, (arrow[0] * far) / width, (arrow[1] * far) / height);
        } else if (key === "Delete" || key === "Backspace") {
            drawing.remove(selected);
        } else if (key === "h") {
            drawing.mirror(selected, event.shiftKey ? "y" : "x");
        } else if (key === "Enter") {
            this.#list.edit();
        } else {
            return false;
        }
        return true;
    }

    #acceptDrops() {
        const { root } = this;
        const hasFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
        const stop = (/** @type {DragEvent} */ event) => {
            event.preventDefault();
            event.stopPropagation();
        };
        root.addEventListener("dragover", (event) => {
            if (!hasFile(event)) return;
            stop(event);
            root.classList.add("dropping");
        });
        root.addEventListener("dragleave", () => root.classList.remove("dropping"));
        root.addEventListener("drop", (event) => {
            root.classList.remove("dropping");
            const file = [...(event.dataTransfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));
            if (!file) return;
            stop(event);
            this.#take(file);
        });
    }

    /** @param {File} file */
    async #take(file) {
        try {
            this.drawing.change({ background: await upload(file) });
            if (isLinked(this.#node)) {
                this.#tell("info", say("The linked picture is shown instead of the dropped one."));
            }
        } catch (error) {
            const reason = error instanceof Error ? error.message : String(error);
            this.#tell("error", say("{file} could not be used: {reason}", { file: file.name, reason }));
        }
    }

    /** @param {"info" | "warn" | "error"} severity @param {string} detail */
    #tell(severity, detail) {
        app.extensionManager.toast.add({ severity, summary: say("Regional Editor"), detail, life: 6000 });
    }

    #showBackground() {
        const address = background(this.#node, this.#executed, this.drawing.background);
        if (address === this.#shown) return;
        this.#shown = address;
        this.#view.picture = null;
        this.#view.draw();
        if (!address) return;
        const picture = new Image();
        picture.onload = () => {
            if (this.#shown !== address) return;
            this.#view.picture = picture;
            this.#view.draw();
        };
        picture.src = address;
    }

    /** The classic canvas lies under this element and would not get these. */
    #leaveTheGraphItsMouse() {
        const isClassic = () => !app.extensionManager.setting.get("Comfy.VueNodes.Enabled");
        const isMiddle = (/** @type {PointerEvent} */ event) => event.button === 1 || event.buttons === 4;
        const { root } = this;
        root.addEventListener("wheel", (event) => {
            const { root: list } = this.#list;
            const overList = event.target instanceof Node && list.contains(event.target);
            if (!isClassic() || (overList && !event.ctrlKey && list.scrollHeight > list.clientHeight)) return;
            event.preventDefault();
            app.canvas.processMouseWheel(event);
        });
        root.addEventListener("pointerdown", (event) => {
            if (isClassic() && isMiddle(event)) app.canvas.processMouseDown(event);
        });
        root.addEventListener("pointermove", (event) => {
            if (isClassic() && isMiddle(event)) app.canvas.processMouseMove(event);
        });
        root.addEventListener("pointerup", (event) => {
            if (isClassic() && isMiddle(event)) app.canvas.processMouseUp(event);
        });
    }

    /** Keeps up with the node's other inputs. */
    #followNode() {
        const node = this.#node;
        const look = () => {
            const side = (/** @type {string} */ name) => {
                const slot = node.inputs.findIndex((input) => input.name === name);
                const source = slot >= 0 && node.inputs[slot]?.link != null ? node.getInputNode(slot) : null;
                const widget = source
                    ? source.widgets?.find(({ value }) => typeof value === "number")
                    : node.widgets?.find((one) => one.name === name);
                const value = Number(widget?.value);
                return value > 0 ? value : 1024;
            };
            this.#view.size = { width: side("width"), height: side("height") };
            this.#showStatus();
            // What a link gives is not drawn here; the classic canvas hides the widget, Nodes 2.0 does not.
            this.root.inert = node.inputs.some(({ widget, link }) => widget?.name === this.name && link != null);
            this.#list.show();
            this.#showBackground();
        };
        for (const name of /** @type {const} */ (["onConfigure", "onConnectionsChange", "onAfterGraphConfigured"])) {
            chain(node, name, () => queueMicrotask(look));
        }
        chain(node, "onExecuted", (output) => {
            this.#executed = output?.background?.[0] ?? null;
            look();
        });
        for (const widget of node.widgets ?? []) {
            if (widget.name !== "width" && widget.name !== "height") continue;
            const { callback } = widget;
            widget.callback = function (...args) {
                const result = callback?.apply(this, args);
                look();
                return result;
            };
        }
        // What is linked may have changed elsewhere.
        app.api.addEventListener("graphChanged", look, { signal: this.#end.signal });
        this.root.addEventListener("pointerenter", look);
        queueMicrotask(look);
    }
}

/** The key, or what lies there on a Latin keyboard. @param {KeyboardEvent} event */
function latin({ key, code }) {
    if (key.length !== 1) return key;
    const letter = /^Key([A-Z])$/.exec(code)?.[1] ?? { BracketLeft: "[", BracketRight: "]" }[code];
    return (key > "\u007f" && letter ? letter : key).toLowerCase();
}

// The widget of RegionEditor: toolbar, canvas and list of regions on one element of the page.
import { app } from "../../../../scripts/app.js";
import { chain, pauseHistory } from "../host.js";
import { say } from "../words.js";
import { Background } from "./background.js";
import { choose } from "./choices.js";
import { Drawing } from "./drawing.js";
import { MAX_REGIONS, parse, stringify } from "./drawing_json.js";
import { passMouseToGraph } from "./graph_mouse.js";
import { Keys } from "./keys.js";
import { unlikeLatent } from "./latent_size.js";
import { List } from "./list.js";
import { continueHistory, own, showLiving } from "./living.js";
import { element } from "./page.js";
import { runShortcut } from "./shortcuts.js";
import { sideOf } from "./sides.js";
import { styleElement } from "./style.js";
import { toast } from "./toast.js";
import { Toolbar } from "./toolbar.js";
import { rectangle } from "./tools/rectangle.js";
import { select } from "./tools/select.js";
import { View } from "./view.js";

export const WIDGET = "REGIONAL_SAMPLING_DRAWING"; // the type that nodes/editor.py declares
const SIZE = { minWidth: 900, minHeight: 940 }; // of a new node
const MIN_HEIGHT = 400;
const TEXT_HEIGHT = 72; // of the base prompts; the classic canvas would otherwise give them as much room as the editor

/**
 * Makes the widget. ComfyUI calls this for the input of type WIDGET.
 *
 * @param {GraphNode} node
 * @param {string} name
 */
export function drawingWidget(node, name) {
    const host = /** @type {EditorNode} */ (node);
    const editor = new Editor(host, name);
    const widget = host.addDOMWidget(name, WIDGET, editor.root, {
        hideOnZoom: false,
        getMinHeight: () => MIN_HEIGHT,
        getValue: () => editor.drawing.json,
        setValue: (/** @type {string} */ value) => void (editor.drawing.json = String(value ?? "")),
    });
    editor.onStep = () => widget.callback?.(widget.value);
    widget.serializeValue = () => editor.valueForRun;
    const { onRemove } = widget;
    widget.onRemove = function () {
        onRemove?.call(this);
        editor.destroy();
    };
    return { widget, ...SIZE };
}

/** Fixes the height of the base prompts. @param {GraphNode} node a new RegionEditor */
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
    /** Called after each undo step of the drawing. */
    onStep = () => {};

    #node;
    #view = new View(this.drawing);
    #list = new List(this.drawing, () => this.#view.size);
    #keys = new Keys(this.root, (event) =>
        runShortcut(event, this.drawing, this.#view, () => this.#list.edit()),
    );
    #background;
    #toolbar;
    #message = element("div", { className: "message", hidden: true });
    #shownReason = "";
    #isUnrecorded = false; // whether the graph's history lacks the last changes
    #end = new AbortController();

    /** @param {EditorNode} node @param {string} name of the input */
    constructor(node, name) {
        this.#node = node;
        this.name = name;
        const { drawing } = this;
        const view = this.#view;
        this.#background = new Background(node, drawing, view);
        const choosePicture = () => this.#background.fileInput.click();
        this.#toolbar = new Toolbar(drawing, view, () => this.#keys.focus(), choosePicture);
        this.#arrange();

        drawing.onFull = () => toast("warn", say("A drawing has at most {count} regions.", { count: MAX_REGIONS }));
        view.onTool = () => this.#showState();
        view.onEdit = () => this.#list.edit();
        view.onStroke = () => {
            this.#list.edit();
            this.#keys.afterStroke();
        };
        drawing.onMerged = () => this.#record();
        this.root.addEventListener("focusout", () => this.#record());
        drawing.listen((isStep) => {
            const isEmpty = drawing.regions.length === 0;
            // In an empty drawing there is nothing to select: the next drag should draw.
            if (isStep === null || (isEmpty && view.tool === select)) view.use(isEmpty ? rectangle : select);
            this.#showState();
            this.#background.show();
            if (isStep) this.#step();
        });
        // In Nodes 2.0 the input's tooltip would cover the drawing: it is told that the mouse has left.
        this.root.addEventListener("mouseenter", () => {
            this.root.closest("[data-pd-tooltip]")?.dispatchEvent(new MouseEvent("mouseleave"));
        });
        this.#background.acceptDrops(this.root);
        passMouseToGraph(this.root, this.#list.root);
        this.#followNode();
        this.#showState();
    }

    destroy() {
        this.#view.destroy();
        this.#end.abort();
    }

    /** The widget's value for a run: the JSON with the choices {a|b} in the prompts made. */
    get valueForRun() {
        const { json, unreadable } = this.drawing;
        if (unreadable.reason) return json;
        const drawing = parse(json);
        const regions = drawing.regions.map((region) => ({ ...region, prompt: choose(region.prompt) }));
        return stringify({ ...drawing, regions });
    }

    #arrange() {
        const stage = element("div", { className: "stage" });
        stage.append(this.#keys.input, this.#view.canvas, this.#message);
        const left = element("div", { className: "left" });
        left.append(this.#toolbar.root, this.#toolbar.status, stage);
        const panes = element("div", { className: "panes" });
        panes.append(left, this.#list.root);
        this.root.append(styleElement(), panes, this.#background.fileInput);
    }

    /** Reports an undo step to the node, as one step of the graph's history too. */
    #step() {
        // What is written in a field, or moved by the arrow keys, becomes one step when it is complete.
        this.#isUnrecorded = this.drawing.isMerging || this.#keys.isInField;
        const resume = this.#isUnrecorded ? () => {} : pauseHistory();
        this.onStep();
        this.#node.graph?.setDirtyCanvas(true, true);
        resume();
    }

    /** Makes what has changed since the last step of the graph's history the next one, if it is complete. */
    #record() {
        if (!this.#isUnrecorded || this.#keys.isInField) return;
        this.#isUnrecorded = false;
        pauseHistory()();
    }

    #showState() {
        this.#toolbar.show();
        const { reason } = this.drawing.unreadable;
        this.#message.hidden = !reason;
        if (reason && reason !== this.#shownReason) {
            const clear = element("button", { type: "button", textContent: say("Clear the drawing") });
            clear.addEventListener("click", () => {
                this.drawing.json = "";
                this.#step();
            });
            const textContent = `${reason} ${say("It is kept as it is.")}`;
            this.#message.replaceChildren(element("p", { textContent }), clear);
        }
        this.#shownReason = reason;
    }

    /** Follows the node's other inputs: the picture's size and the linked image. */
    #followNode() {
        const node = this.#node;
        const update = () => {
            const size = { width: sideOf(node, "width") ?? 1024, height: sideOf(node, "height") ?? 1024 };
            this.#view.size = size;
            const latent = unlikeLatent(node, size);
            this.#toolbar.warning =
                latent && say("Regions will be stretched: the latent is {width} x {height} pixels", latent);
            this.#toolbar.showStatus();
            // If the input is linked, the drawing is not used. The classic canvas hides the widget, Nodes 2.0 does not.
            this.root.inert = node.inputs.some(({ widget, link }) => widget?.name === this.name && link != null);
            this.#list.show();
            this.#background.show();
            own(this.root, node, this.name);
            showLiving();
        };
        for (const name of /** @type {const} */ (["onConfigure", "onConnectionsChange", "onAfterGraphConfigured"])) {
            chain(node, name, () => queueMicrotask(update));
        }
        chain(node, "onExecuted", (output) => {
            this.#background.executed = output?.background?.[0] ?? null;
            update();
        });
        for (const widget of node.widgets ?? []) {
            if (widget.name !== "width" && widget.name !== "height") continue;
            const { callback } = widget;
            widget.callback = function (...args) {
                const result = callback?.apply(this, args);
                update();
                return result;
            };
        }
        // The linked nodes may have changed.
        app.api.addEventListener("graphChanged", update, { signal: this.#end.signal });
        for (const type of ["pointerenter", "focusin"]) {
            this.root.addEventListener(type, () => {
                update();
                if (this.root.isConnected) continueHistory(this.drawing, this.root);
            });
        }
        queueMicrotask(update);
    }
}

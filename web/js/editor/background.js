// The picture below the regions: from the node's linked image input, otherwise one that was dropped or chosen.
import { app } from "../../../../scripts/app.js";
import { say } from "../words.js";
import { element } from "./page.js";
import { toast } from "./toast.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {import("./drawing_json.js").Picture} Picture
 * @typedef {import("./view.js").View} View
 */

const UPLOAD_FOLDER = "regional-sampling"; // in the host's input folder

/** @type {Record<string, string>} the widget that names the picture, by the host's node classes */
const PICTURE_WIDGETS = { LoadImage: "image" };

export class Background {
    /** Opens the browser's file dialog on click(). */
    fileInput = element("input", { type: "file", accept: "image/*", hidden: true });
    /** @type {Picture | null} shown by the node's last run */
    executed = null;

    #node;
    #drawing;
    #view;
    #shownUrl = "";

    /** @param {GraphNode} node @param {Drawing} drawing @param {View} view */
    constructor(node, drawing, view) {
        this.#node = node;
        this.#drawing = drawing;
        this.#view = view;
        this.fileInput.addEventListener("change", () => {
            const file = this.fileInput.files?.[0];
            this.fileInput.value = "";
            if (file) this.#take(file);
        });
    }

    /** Loads the picture that belongs below the regions now, unless it is shown already. */
    show() {
        const picture = isLinked(this.#node) ? (linkedPicture(this.#node) ?? this.executed) : this.#drawing.background;
        const url = picture ? urlOf(picture) : "";
        if (url === this.#shownUrl) return;
        this.#shownUrl = url;
        this.#view.picture = null;
        this.#view.draw();
        if (!url) return;
        const image = new Image();
        image.onload = () => {
            if (this.#shownUrl !== url) return;
            this.#view.picture = image;
            this.#view.draw();
        };
        image.src = url;
    }

    /** Takes pictures that are dropped on an element. @param {HTMLElement} root */
    acceptDrops(root) {
        const stop = (/** @type {DragEvent} */ event) => {
            event.preventDefault();
            event.stopPropagation();
        };
        root.addEventListener("dragover", (event) => {
            if (!event.dataTransfer?.types.includes("Files")) return;
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
            this.#drawing.change({ background: await upload(file) });
            if (isLinked(this.#node)) {
                toast("info", say("The linked picture is shown instead of the dropped one."));
            }
        } catch (error) {
            const reason = error instanceof Error ? error.message : String(error);
            toast("error", say("{file} could not be used: {reason}", { file: file.name, reason }));
        }
    }
}

/** @param {Picture} picture */
function urlOf({ filename, subfolder, type }) {
    return app.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/**
 * Uploads a picture. The host renames it if it has another one of that name.
 *
 * @param {File} file
 * @returns {Promise<Picture>}
 */
async function upload(file) {
    const body = new FormData();
    body.append("image", file);
    body.append("subfolder", UPLOAD_FOLDER);
    const response = await app.api.fetchApi("/upload/image", { method: "POST", body });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    const { name, subfolder, type } = await response.json();
    return { filename: name, subfolder, type };
}

/** @param {GraphNode} node */
const imageSlot = (node) => node.inputs.findIndex(({ name }) => name === "image");

/** @param {GraphNode} node @returns {boolean} */
const isLinked = (node) => node.inputs[imageSlot(node)]?.link != null;

/**
 * The picture that the linked node loads. Null for other nodes: theirs is known only after a run.
 *
 * @param {GraphNode} node
 * @returns {Picture | null}
 */
function linkedPicture(node) {
    const origin = node.getInputNode(imageSlot(node));
    const widgetName = PICTURE_WIDGETS[origin?.comfyClass ?? ""];
    const value = origin?.widgets?.find(({ name }) => name === widgetName)?.value;
    if (!widgetName || typeof value !== "string") return null;
    // The host's notation: sub/folder/name.png [output]
    const [, path = "", type = "input"] = /^(.*?)(?: \[(\w+)\])?$/.exec(value) ?? [];
    const slash = path.lastIndexOf("/");
    return { filename: path.slice(slash + 1), subfolder: path.slice(0, Math.max(slash, 0)), type };
}

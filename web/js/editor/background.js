// The picture under the regions: dropped in, which goes to the host's input folder, or that of a linked node.
import { app } from "../../../../scripts/app.js";

/** @typedef {import("./drawing.js").Picture} Picture */

const FOLDER = "regional-sampling"; // in the host's input folder

/** @param {Picture} picture */
export function address({ filename, subfolder, type }) {
    return app.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/**
 * Gives a picture to the host, which may know another of that name.
 *
 * @param {File} file
 * @returns {Promise<Picture>}
 */
export async function upload(file) {
    const body = new FormData();
    body.append("image", file);
    body.append("subfolder", FOLDER);
    const response = await app.api.fetchApi("/upload/image", { method: "POST", body });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    const { name, subfolder, type } = await response.json();
    return { filename: name, subfolder, type };
}

/**
 * The picture that comes in through a node's image input, as far as the page can know; null if it cannot.
 *
 * @param {GraphNode} node
 * @returns {Picture | null}
 */
function chosen(node) {
    const origin = node.getInputNode(slotOf(node));
    if (origin?.comfyClass !== "LoadImage") return null;
    const value = origin.widgets?.find(({ name }) => name === "image")?.value;
    if (typeof value !== "string") return null;
    // As the host names files: sub/folder/name.png [output]
    const [, path = "", type = "input"] = /^(.*?)(?: \[(\w+)\])?$/.exec(value) ?? [];
    const cut = path.lastIndexOf("/");
    return { filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type };
}

/** @param {GraphNode} node */
const slotOf = (node) => node.inputs.findIndex(({ name }) => name === "image");

/** @param {GraphNode} node @returns {boolean} */
export const isLinked = (node) => node.inputs[slotOf(node)]?.link != null;

/**
 * The address of what lies under the regions: of what is linked, or else of what was dropped; "" for nothing.
 *
 * @param {GraphNode} node
 * @param {Picture | null} executed what the node's last run has shown
 * @param {Picture | null} dropped
 */
export function background(node, executed, dropped) {
    const picture = isLinked(node) ? (chosen(node) ?? executed) : dropped;
    return picture ? address(picture) : "";
}

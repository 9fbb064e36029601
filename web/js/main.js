// The pack's one extension of the frontend. ComfyUI imports every module in this folder; the others only export.
import { app } from "../../../scripts/app.js";
import { WIDGET, drawingWidget, fitTexts } from "./editor/editor.js";
import { growInputs } from "./growing_inputs.js";
import { moveSecondSeed } from "./second_seed.js";
import { giveTextRoom } from "./text_room.js";

const NAME = "regional-sampling";
const CATEGORY = "regional sampling";

/**
 * What is done to a new node, by its class id.
 * @type {Record<string, (node: GraphNode) => void>}
 */
const CREATED = {
    RegionEditor: fitTexts,
    CombineRegionalPrompts: (node) => growInputs(node, "regional_prompts"),
    RegionalPreview: giveTextRoom,
    RegionalReport: giveTextRoom,
    RegionalSampler: moveSecondSeed,
};

/** The folder in custom_nodes that this was served from. */
const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3) ?? "");

/** @type {ComfyExtension} */
const extension = {
    name: NAME,
    folder: FOLDER,
    getCustomWidgets: () => ({ [WIDGET]: drawingWidget }),
    nodeCreated(/** @type {GraphNode} */ node) {
        // Another pack may have the same class id; it has its own idea of what its nodes do.
        if (node.constructor.nodeData?.category?.split("/")[0] === CATEGORY) {
            CREATED[node.comfyClass ?? ""]?.(node);
        }
    },
};

const other = app.extensions.find(({ name }) => name === NAME);
if (other) {
    app.registerExtension({
        name: `${NAME}, copy in ${FOLDER}`,
        setup() {
            app.extensionManager.toast.add({
                severity: "warn",
                summary: "Regional Sampling is installed twice",
                detail: `In custom_nodes/${FOLDER} and custom_nodes/${other.folder}. Remove one and restart ComfyUI.`,
            });
        },
    });
} else {
    app.registerExtension(extension);
}

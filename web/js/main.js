// The pack's one extension of the frontend. ComfyUI imports every module in this folder; the others only export.
import { app } from "../../../scripts/app.js";
import { growInputs } from "./growing_inputs.js";
import { moveSecondSeed } from "./second_seed.js";

const NAME = "regional-sampling";
const CATEGORY = "regional sampling";

/**
 * What is done to a new node, by its class id.
 * @type {Record<string, (node: GraphNode) => void>}
 */
const CREATED = {
    CombineRegionalPrompts: (node) => growInputs(node, "regional_prompts"),
    RegionalSampler: moveSecondSeed,
};

/** @type {ComfyExtension} */
const extension = {
    name: NAME,
    nodeCreated(/** @type {GraphNode} */ node) {
        // Another pack may have the same class id; it has its own idea of what its nodes do.
        if (node.constructor.nodeData?.category?.split("/")[0] === CATEGORY) {
            CREATED[node.comfyClass ?? ""]?.(node);
        }
    },
};

/** The folder in custom_nodes that a module was served from. @param {string} url */
function folder(url) {
    return decodeURIComponent(new URL(url).pathname.split("/").at(-3) ?? "");
}

if (app.extensions.some((other) => other.name === NAME)) {
    const copy = folder(import.meta.url);
    app.registerExtension({
        name: `${NAME}, copy in ${copy}`,
        setup() {
            app.extensionManager.toast.add({
                severity: "warn",
                summary: "Regional Sampling is installed twice",
                detail: `One of the copies is custom_nodes/${copy}. Remove one and restart ComfyUI.`,
            });
        },
    });
} else {
    app.registerExtension(extension);
}

// The pack's one extension of the frontend. ComfyUI imports every module in this folder; the others only export.
import { app } from "../../../scripts/app.js";
import { WIDGET, drawingWidget, fitTexts } from "./editor/editor.js";
import { growInputs } from "./growing_inputs.js";
import { otherOwners, tellOwners } from "./neighbours.js";
import { moveSecondSeed } from "./second_seed.js";
import { giveTextRoom } from "./text_room.js";
import { learn, say } from "./words.js";

const NAME = "regional-sampling";

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

// The host waits for both, and after the second, which follows a change of language, makes all nodes anew.
const learnWords = async () => {
    const language = app.extensionManager.setting.get("Comfy.Locale");
    await learn(String(language), () => app.api.getCustomNodesI18n());
};
const inLanguage = { init: learnWords, refreshComboInNodes: learnWords };

const isOurs = (/** @type {string | undefined} */ module) =>
    extension.folders.some((folder) => module === `custom_nodes.${folder}`);

/** @type {Record<string, { python_module?: string }>} */
let known = {};

const extension = {
    name: NAME,
    folders: [FOLDER],
    ...inLanguage,
    getCustomWidgets: () => ({ [WIDGET]: drawingWidget }),
    addCustomNodeDefs(/** @type {typeof known} */ defs) {
        known = defs;
    },
    // Now all copies of this pack have given their folders.
    setup: () => tellOwners(otherOwners(known, isOurs)),
    nodeCreated(/** @type {GraphNode} */ node) {
        // Another pack may have the same class id; it has its own idea of what its nodes do.
        if (isOurs(node.constructor.nodeData?.python_module)) CREATED[node.comfyClass ?? ""]?.(node);
    },
};

const other = /** @type {typeof extension | undefined} */ (app.extensions.find(({ name }) => name === NAME));
if (other) {
    other.folders.push(FOLDER); // the nodes may be this copy's
    app.registerExtension({
        name: `${NAME}, copy in ${FOLDER}`,
        ...inLanguage,
        setup() {
            app.extensionManager.toast.add({
                severity: "warn",
                summary: say("Regional Sampling is installed twice"),
                detail: say("In {one} and {other}. Remove one and restart ComfyUI.", {
                    one: `custom_nodes/${FOLDER}`,
                    other: `custom_nodes/${other.folders[0]}`,
                }),
            });
        },
    });
} else {
    app.registerExtension(extension);
}

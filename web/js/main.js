// The pack's extension of the frontend. ComfyUI imports every module in this folder; only this one has side effects.
import { app } from "../../../scripts/app.js";
import { WIDGET, drawingWidget, fitTexts } from "./editor/editor.js";
import { loadStyle } from "./editor/style.js";
import { growInputs } from "./growing_inputs.js";
import { changeSecondSeed } from "./second_seed.js";
import { otherOwners, tellOwners } from "./neighbours.js";
import { giveTextRoom } from "./text_room.js";
import { loadTranslations, say } from "./words.js";

const NAME = "regional-sampling";

/**
 * Called for each new node of this pack, by class id.
 * @type {Record<string, (node: GraphNode) => void>}
 */
const CREATED = {
    RegionEditor: fitTexts,
    CombineRegionalPrompts: (node) => growInputs(node, "regional_prompts"),
    RegionalPreview: giveTextRoom,
    RegionalReport: giveTextRoom,
    RegionalSampler: changeSecondSeed,
};

/** The pack's folder in custom_nodes. */
const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3) ?? "");

// The host waits for both hooks. It calls the second one after a change of language, before it makes all nodes again.
const loadWords = async () => {
    const language = app.extensionManager.setting.get("Comfy.Locale");
    await loadTranslations(String(language), () => app.api.getCustomNodesI18n());
};
const languageHooks = { init: loadWords, refreshComboInNodes: loadWords };

const isOurs = (/** @type {string | undefined} */ module) =>
    extension.folders.some((folder) => module === `custom_nodes.${folder}`);

/** @type {Record<string, { python_module?: string }>} */
let known = {};

const extension = {
    name: NAME,
    folders: [FOLDER],
    ...languageHooks,
    init: async () => void (await Promise.all([loadWords(), loadStyle()])),
    getCustomWidgets: () => ({ [WIDGET]: drawingWidget }),
    addCustomNodeDefs(/** @type {typeof known} */ defs) {
        known = defs;
    },
    // Now all copies of this pack have given their folders.
    setup: () => tellOwners(otherOwners(known, isOurs)),
    nodeCreated(/** @type {GraphNode} */ node) {
        // Another pack may have a node of the same class id, which is left alone.
        if (isOurs(node.constructor.nodeData?.python_module)) CREATED[node.comfyClass ?? ""]?.(node);
    },
};

const other = /** @type {typeof extension | undefined} */ (app.extensions.find(({ name }) => name === NAME));
if (other) {
    // The pack is installed twice. The server may use the nodes of either copy; the other copy's extension serves both.
    other.folders.push(FOLDER);
    app.registerExtension({
        name: `${NAME}, copy in ${FOLDER}`,
        ...languageHooks,
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

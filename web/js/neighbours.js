// Class ids that other packs have, too: whose nodes they are.
import { app } from "../../../scripts/app.js";
import { say } from "./words.js";

const TOLD = "regional-sampling.neighbours"; // in the session's storage: what the last notice said

// Those of Impact Pack, and MaskGrid of the bmad nodes. All our other ids are ours alone.
export const SHARED = [
    "RegionalSampler",
    "RegionalSamplerAdvanced",
    "TwoSamplersForMask",
    "TwoAdvancedSamplersForMask",
    "RegionalPrompt",
    "CombineRegionalPrompts",
    "KSamplerProvider",
    "KSamplerAdvancedProvider",
    "GITSSchedulerFuncProvider",
    "ImpactNegativeConditioningPlaceholder",
    "ToBasicPipe",
    "FromBasicPipe",
    "FromBasicPipe_v2",
    "EditBasicPipe",
    "MaskGrid N KSamplers Advanced",
];

/**
 * The shared ids that other packs provide, by the folder of the pack.
 *
 * @param {Record<string, { python_module?: string }>} defs all nodes that the server has
 * @param {(module: string | undefined) => boolean} isOurs
 */
export function otherOwners(defs, isOurs) {
    /** @type {Map<string, string[]>} */
    const owners = new Map();
    for (const id of SHARED) {
        const module = defs[id]?.python_module;
        if (!module || isOurs(module)) continue;
        const pack = module.replace(/^custom_nodes\./, "");
        owners.set(pack, [...(owners.get(pack) ?? []), id]);
    }
    return owners;
}

/**
 * One notice for a browser's session, if there are other owners.
 *
 * @param {Map<string, string[]>} owners
 */
export function tellOwners(owners) {
    const now = JSON.stringify([...owners]);
    if (!owners.size || sessionStorage.getItem(TOLD) === now) return;
    sessionStorage.setItem(TOLD, now);
    const lines = [...owners].map(([pack, ids]) =>
        say("These nodes are those of {pack}: {nodes}.", { pack, nodes: ids.join(", ") }),
    );
    lines.push(say("RegionalGuider, RegionEditor and all other nodes of Regional Sampling work with them."));
    app.extensionManager.toast.add({
        severity: "info",
        summary: say("Another pack has nodes of the same names as Regional Sampling"),
        detail: lines.join("\n"),
        life: 30_000, // milliseconds; who has both packs on purpose need not close it
    });
}

// Numbered inputs: a node shows those with links and one free input after them.
import { chain, pauseHistory } from "./host.js";

/** @param {Slot} slot */
const isLinked = (slot) => slot.link != null || !!slot._floatingLinks?.size;

/**
 * Keeps the linked inputs `prefix`1, 2, ... of a node without gaps, with one free input after them, up to the number
 * that the server declares. A loaded workflow with more links keeps them.
 *
 * Inputs are removed in a microtask, not at once: moving a link disconnects it first, and code that connects by name or
 * index (API prompts, pasting, unpacking a subgraph) expects the inputs that the node was made with.
 *
 * @param {GraphNode} node a new one with all declared inputs
 * @param {string} prefix
 */
export function growInputs(node, prefix) {
    const numbered = new RegExp(`^${prefix}\\d+$`);
    const declared = node.inputs
        .filter(({ name }) => numbered.test(name))
        .map(({ name, type, shape, localized_name }) => ({ name, type, shape, localized_name }));

    const name = (/** @type {number} */ index) => `${prefix}${index + 1}`;
    const label = (/** @type {number} */ index) => declared[index]?.localized_name ?? name(index);

    let hasSavedSize = false;
    function fit() {
        const keepsSize = hasSavedSize;
        hasSavedSize = false;
        const slots = node.inputs.filter(({ name }) => numbered.test(name));
        const links = slots.filter(isLinked).length;
        const wanted = links < declared.length ? links + 1 : links;
        const last = slots.at(-1);
        const kept = slots.filter((slot) => isLinked(slot) || (slot === last && wanted > links));
        // What other packs do to the slots may give them new names and leave the labels.
        const inOrder = kept.every((slot, i) => slot.name === name(i) && slot.localized_name === label(i));
        if (kept.length === slots.length && kept.length === wanted && inOrder) return;

        const room = node.size[1] - node.computeSize()[1];
        for (const slot of slots) {
            if (!kept.includes(slot)) node.removeInput(node.inputs.indexOf(slot));
        }
        for (const [index, slot] of kept.entries()) {
            const { shape } = declared[index] ?? slot;
            Object.assign(slot, { name: name(index), shape, localized_name: label(index) });
            for (const link of slot._floatingLinks ?? []) link.target_slot = node.inputs.indexOf(slot);
        }
        const next = kept.length < wanted && declared[kept.length];
        if (next) node.addInput(next.name, next.type, { shape: next.shape, localized_name: next.localized_name });
        if (!keepsSize) node.setSize([node.size[0], node.computeSize()[1] + Math.max(room, 0)]);
        node.setDirtyCanvas(true, true);
    }

    let waiting = false;
    function fitSoon() {
        if (waiting) return;
        waiting = true;
        const resume = pauseHistory();
        queueMicrotask(() => {
            waiting = false;
            try {
                fit();
            } finally {
                resume();
            }
        });
    }

    chain(node, "onConnectionsChange", fitSoon);
    // The saved size belongs to the saved inputs; at this moment the node has all declared ones.
    chain(node, "onConfigure", () => (hasSavedSize = true));
    // The host measures the nodes of a loaded workflow before the microtask runs.
    chain(node, "onAfterGraphConfigured", fit);
    fitSoon();
}

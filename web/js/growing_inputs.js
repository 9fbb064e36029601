// Numbered inputs of which a node shows as many as it has links, and a free one.
import { chain, pauseHistory } from "./host.js";

/** @param {Slot} slot */
const isLinked = (slot) => slot.link != null || !!slot._floatingLinks?.size;

/**
 * From now on `node` shows its links to the inputs `prefix`1, 2, ... without gaps, and one free input behind them, up
 * to the number that the server declares. Further links, of a workflow from elsewhere, are kept.
 *
 * Nothing is removed at once: what puts a link elsewhere disconnects first, and who connects by name or index (an API
 * prompt, a paste, the unpacking of a subgraph) counts on the inputs that the node was made with.
 *
 * @param {GraphNode} node just made, with all declared inputs
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
    // A saved size is one with the saved inputs, and the node has all declared ones for now.
    chain(node, "onConfigure", () => (hasSavedSize = true));
    // The nodes of a workflow are measured before the microtask.
    chain(node, "onAfterGraphConfigured", fit);
    fitSoon();
}

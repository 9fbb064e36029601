// Editors of nodes that take the place of others. The host makes all nodes anew at each undo of the graph, when another
// tab is shown and when the language changes. Nodes 2.0 may go on showing the element of a node that is gone: what is
// drawn there would be lost.
import { app } from "../../../../scripts/app.js";

/**
 * @typedef {import("./drawing.js").Drawing} Drawing
 * @typedef {{ node: EditorNode, name: string, subgraph: string | null }} Owner the node that an editor's element was
 *     made for, the name of its widget, and the id of the node's subgraph; null: in the outermost graph
 */

/** @type {WeakMap<Element, Owner>} by the element */
const owners = new WeakMap();
/** @type {WeakMap<object, Map<string, Drawing>>} the last drawing at each place in a workflow, by the workflow */
const drawings = new WeakMap();

/**
 * Notes whose editor an element is.
 *
 * @param {HTMLElement} root of the editor
 * @param {EditorNode} node must be in a graph; otherwise nothing is noted
 * @param {string} name of the widget
 */
export function own(root, node, name) {
    const { graph } = node;
    if (graph) owners.set(root, { node, name, subgraph: graph === app.rootGraph ? null : String(graph.id) });
}

/** In Nodes 2.0, puts the editors of the graph's nodes in the place of those of nodes that are gone. */
export function showLiving() {
    if (!app.extensionManager.setting.get("Comfy.VueNodes.Enabled")) return;
    for (const root of document.querySelectorAll(".regional-editor")) {
        const element = livingElement(owners.get(root));
        if (element && element !== root && !element.isConnected) root.replaceWith(element);
    }
}

/** The element of the node that now is where the owner was. @param {Owner | undefined} owner */
function livingElement(owner) {
    if (!owner) return null;
    const { rootGraph } = app;
    const graph = owner.subgraph === null ? rootGraph : rootGraph.subgraphs.get(owner.subgraph);
    const node = graph?.getNodeById(owner.node.id);
    const widget = node?.widgets?.find(({ name }) => name === owner.name);
    return /** @type {HTMLElement | undefined} */ (widget && "element" in widget ? widget.element : undefined);
}

/**
 * Gives a drawing the undo history of the one that was at its place before. Not to be called while the host loads a
 * workflow: until it has ended, the one before is the active one.
 *
 * @param {Drawing} drawing
 * @param {HTMLElement} root of its editor
 */
export function continueHistory(drawing, root) {
    const workflow = app.extensionManager.workflow?.activeWorkflow;
    const owner = owners.get(root);
    if (!workflow || !owner) return;
    const places = drawings.get(workflow) ?? new Map();
    drawings.set(workflow, places);
    const place = `${owner.subgraph ?? ""}/${owner.node.id}/${owner.name}`;
    const before = places.get(place);
    if (before && before !== drawing) drawing.continueHistory(before);
    places.set(place, drawing);
}

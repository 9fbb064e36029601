// Access to the frontend that several modules share.
import { app } from "../../../scripts/app.js";

const SUBGRAPH_INPUT = -10; // the host's origin_id of links that enter a subgraph from outside

/**
 * Calls `after` after each call of the node's callback of this name; the callback's result is kept.
 *
 * @param {GraphNode} node
 * @param {"onConfigure" | "onConnectionsChange" | "onAfterGraphConfigured" | "onExecuted"} name
 * @param {(...args: any[]) => void} after gets the same arguments
 */
export function chain(node, name, after) {
    /** @type {((...args: any[]) => void) | undefined} */
    const own = node[name];
    node[name] = function (/** @type {unknown[]} */ ...args) {
        const result = own?.apply(this, args);
        after(...args);
        return result;
    };
}

/**
 * Pauses the graph's undo history. The returned function resumes it and records one step.
 *
 * The canvas's own events for this are not used: another workflow may be active when it resumes.
 */
export function pauseHistory() {
    const active = () => app.extensionManager.workflow?.activeWorkflow?.changeTracker;
    const history = active();
    history?.beforeChange();
    return () => {
        if (history && history === active()) history.afterChange();
        else if (history) history.changeCount--;
    };
}

/**
 * The widgets that hold the value of a node's input. Usually the node's own widget. If the input is promoted to an
 * input of its subgraph: the widgets on the nodes that stand for the subgraph (`hosts`, from the inside outwards). None
 * if the value comes from a link.
 *
 * @param {GraphNode} node
 * @param {string} name
 * @returns {{ widget: Widget, hosts: GraphNode[] }[]}
 */
export function widgetsOf(node, name) {
    const widget = node.widgets?.find((one) => one.name === name);
    const input = node.inputs.find((one) => one.widget?.name === name);
    if (input?.link == null) return widget ? [{ widget, hosts: [] }] : [];
    const link = node.graph?.getLink(input.link);
    if (!link || Number(link.origin_id) !== SUBGRAPH_INPUT) return [];
    return [...new Set(nodesOf(app.rootGraph))]
        .filter((host) => host.isSubgraphNode() && host.subgraph === node.graph)
        .flatMap((host) => {
            const promoted = host.inputs[link.origin_slot]?.widget?.name ?? "";
            return widgetsOf(host, promoted).map((found) => ({ ...found, hosts: [host, ...found.hosts] }));
        });
}

/**
 * The nodes of a graph and of all subgraphs in it; those of a subgraph once for each node that stands for it.
 *
 * @param {import("@comfyorg/comfyui-frontend-types").ComfyApp["rootGraph"]} graph
 * @returns {GraphNode[]}
 */
function nodesOf(graph) {
    return graph.nodes.flatMap((node) => [node, ...(node.isSubgraphNode() ? nodesOf(node.subgraph) : [])]);
}

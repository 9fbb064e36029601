// What several modules need of the frontend.
import { app } from "../../../scripts/app.js";

const SUBGRAPH_INPUT = -10; // the origin of links that come in from outside of a subgraph

/**
 * Calls `also` after the node's own callback of this name, whose result stays.
 *
 * @param {GraphNode} node
 * @param {"onConfigure" | "onConnectionsChange" | "onAfterGraphConfigured" | "onExecuted"} name
 * @param {(...args: any[]) => void} also is told what that one is
 */
export function chain(node, name, also) {
    /** @type {((...args: any[]) => void) | undefined} */
    const own = node[name];
    node[name] = function (/** @type {unknown[]} */ ...args) {
        const result = own?.apply(this, args);
        also(...args);
        return result;
    };
}

/**
 * Keeps the undo history from taking a step until the returned function is called, which takes it.
 *
 * Not by the canvas's events: what is active may be another workflow by then.
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
 * The widgets that a node's widget has its value from: itself; or, where it is promoted to an input of its subgraph,
 * those of the nodes that show this subgraph (`hosts`, from the inside outwards). None where a link gives the value.
 *
 * @param {GraphNode} node
 * @param {string} name
 * @returns {{ widget: Widget, hosts: GraphNode[] }[]}
 */
export function seats(node, name) {
    const widget = node.widgets?.find((one) => one.name === name);
    const input = node.inputs.find((one) => one.widget?.name === name);
    if (input?.link == null) return widget ? [{ widget, hosts: [] }] : [];
    const link = node.graph?.getLink(input.link);
    if (!link || Number(link.origin_id) !== SUBGRAPH_INPUT) return [];
    return [...new Set(nodesOf(app.rootGraph))]
        .filter((host) => host.isSubgraphNode() && host.subgraph === node.graph)
        .flatMap((host) => {
            const promoted = host.inputs[link.origin_slot]?.widget?.name ?? "";
            return seats(host, promoted).map((seat) => ({ ...seat, hosts: [host, ...seat.hosts] }));
        });
}

/**
 * The nodes of a graph and of all subgraphs in it, those of a subgraph once for each node that shows it.
 *
 * @param {import("@comfyorg/comfyui-frontend-types").ComfyApp["rootGraph"]} graph
 * @returns {GraphNode[]}
 */
function nodesOf(graph) {
    return graph.nodes.flatMap((node) => [node, ...(node.isSubgraphNode() ? nodesOf(node.subgraph) : [])]);
}

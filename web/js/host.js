// What several modules need of the frontend.
import { app } from "../../../scripts/app.js";

/**
 * Calls `also` after the node's own callback of this name, whose result stays.
 *
 * @param {GraphNode} node
 * @param {"onConfigure" | "onConnectionsChange" | "onAfterGraphConfigured"} name
 * @param {() => void} also
 */
export function chain(node, name, also) {
    /** @type {((...args: any[]) => void) | undefined} */
    const own = node[name];
    node[name] = function (/** @type {unknown[]} */ ...args) {
        const result = own?.apply(this, args);
        also();
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

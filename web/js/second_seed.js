// Changes RegionalSampler's seed_2nd by seed_2nd_mode, as ComfyUI changes a seed by its control_after_generate.
import { app } from "../../../scripts/app.js";
import { widgetsOf } from "./host.js";

// The limit of ComfyUI's own control. Above 2 ** 53, JavaScript numbers are not exact.
const LIMIT = 2 ** 50;

/** @type {Record<string, (value: number, low: number, high: number) => number>} */
const NEXT = {
    increment: (value) => value + 1,
    decrement: (value) => value - 1,
    randomize: (_, low, high) => low + Math.floor(Math.random() * (high - low)),
};

/** @param {GraphNode} node a new RegionalSampler */
export function changeSecondSeed(node) {
    /** @type {Widget | undefined} */
    const control = node.widgets?.find(({ name }) => name === "seed_2nd_mode");
    if (!control) return;

    const change = () => {
        const modes = widgetsOf(node, "seed_2nd_mode");
        for (const { widget, hosts } of widgetsOf(node, "seed_2nd")) {
            const mode = modes.find((found) => found.hosts.every((host, i) => host === (hosts[i] ?? host)));
            const next = NEXT[String(mode?.widget.value)];
            if (!next) continue;
            const low = Math.max(widget.options.min ?? 0, -LIMIT);
            const high = Math.min(widget.options.max ?? LIMIT, LIMIT);
            widget.value = Math.min(Math.max(next(Number(widget.value), low, high), low), high);
            widget.callback?.(widget.value);
        }
    };

    // For a node in a subgraph that is used twice, ComfyUI calls the hook twice per run, in the same task.
    let isCalled = false;
    const oncePerRun = (/** @type {() => void} */ action) => {
        if (isCalled) return;
        isCalled = true;
        queueMicrotask(() => (isCalled = false));
        action();
    };

    const isChangedBefore = () => app.extensionManager.setting.get("Comfy.WidgetControlMode") === "before";
    let hasRun = false;
    control.beforeQueued = ({ isPartialExecution } = {}) =>
        oncePerRun(() => {
            if (isChangedBefore() && hasRun && !isPartialExecution) change();
            hasRun = true;
        });
    control.afterQueued = ({ isPartialExecution } = {}) =>
        oncePerRun(() => {
            if (!isChangedBefore() && !isPartialExecution) change();
        });
}

// RegionalSampler's seed_2nd, moved by seed_2nd_mode as ComfyUI moves a seed by its control_after_generate.
import { app } from "../../../scripts/app.js";
import { seats } from "./host.js";

// Where ComfyUI's own control stops too: above it, not every whole number is a JavaScript number.
const LIMIT = 2 ** 50;

/** @type {Record<string, (value: number, low: number, high: number) => number>} */
const NEXT = {
    increment: (value) => value + 1,
    decrement: (value) => value - 1,
    randomize: (_, low, high) => low + Math.floor(Math.random() * (high - low)),
};

/** @param {GraphNode} node a RegionalSampler, just made */
export function moveSecondSeed(node) {
    /** @type {Widget | undefined} */
    const control = node.widgets?.find(({ name }) => name === "seed_2nd_mode");
    if (!control) return;

    const move = () => {
        const modes = seats(node, "seed_2nd_mode");
        for (const { widget, hosts } of seats(node, "seed_2nd")) {
            const mode = modes.find((seat) => seat.hosts.every((host, i) => host === (hosts[i] ?? host)));
            const next = NEXT[String(mode?.widget.value)];
            if (!next) continue;
            const low = Math.max(widget.options.min ?? 0, -LIMIT);
            const high = Math.min(widget.options.max ?? LIMIT, LIMIT);
            widget.value = Math.min(Math.max(next(Number(widget.value), low, high), low), high);
            widget.callback?.(widget.value);
        }
    };

    // In a subgraph that is there twice, ComfyUI tells the node of each run twice, one right after the other.
    let isTold = false;
    const oncePerRun = (/** @type {() => void} */ action) => {
        if (isTold) return;
        isTold = true;
        queueMicrotask(() => (isTold = false));
        action();
    };

    const movesBefore = () => app.extensionManager.setting.get("Comfy.WidgetControlMode") === "before";
    let hasRun = false;
    control.beforeQueued = ({ isPartialExecution } = {}) =>
        oncePerRun(() => {
            if (movesBefore() && hasRun && !isPartialExecution) move();
            hasRun = true;
        });
    control.afterQueued = ({ isPartialExecution } = {}) =>
        oncePerRun(() => {
            if (!movesBefore() && !isPartialExecution) move();
        });
}

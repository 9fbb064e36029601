// RegionalSampler's seed_2nd, moved by seed_2nd_mode as ComfyUI moves a seed by its control_after_generate.
import { app } from "../../../scripts/app.js";

// Where ComfyUI's own control stops too: above it, not every whole number is a JavaScript number.
const LIMIT = 2 ** 50;

/** @param {GraphNode} node a RegionalSampler, just made */
export function moveSecondSeed(node) {
    /** @param {string} name @returns {Widget | undefined} */
    const widget = (name) => node.widgets?.find((one) => one.name === name);
    const [seed, mode] = [widget("seed_2nd"), widget("seed_2nd_mode")];
    if (!seed || !mode) return;

    const isLinked = () =>
        node.inputs.some(({ widget, link }) => link != null && (widget?.name === seed.name || widget?.name === mode.name));
    const movesBefore = () => app.extensionManager.setting.get("Comfy.WidgetControlMode") === "before";

    const move = (/** @type {Queued} */ { isPartialExecution } = {}) => {
        if (isPartialExecution || isLinked()) return;
        const [value, { min = 0, max = LIMIT }] = [Number(seed.value), seed.options];
        const [low, high] = [Math.max(min, -LIMIT), Math.min(max, LIMIT)];
        let next;
        if (mode.value === "increment") next = value + 1;
        else if (mode.value === "decrement") next = value - 1;
        else if (mode.value === "randomize") next = low + Math.floor(Math.random() * (high - low));
        else return;
        seed.value = Math.min(Math.max(next, low), high);
        seed.callback?.(seed.value);
    };

    let hasRun = false;
    mode.beforeQueued = (run) => {
        if (movesBefore() && hasRun) move(run);
        hasRun = true;
    };
    mode.afterQueued = (run) => {
        if (!movesBefore()) move(run);
    };
}

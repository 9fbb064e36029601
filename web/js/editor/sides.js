/**
 * A node's width or height in pixels, followed through a link; null if it is unknown.
 *
 * @param {GraphNode} node
 * @param {"width" | "height"} name
 * @returns {number | null}
 */
export function sideOf(node, name) {
    const slot = node.inputs.findIndex((input) => input.name === name);
    const source = slot >= 0 && node.inputs[slot]?.link != null ? node.getInputNode(slot) : null;
    const widget = source
        ? source.widgets?.find(({ value }) => typeof value === "number")
        : node.widgets?.find((one) => one.name === name);
    const value = Number(widget?.value);
    return value > 0 ? value : null;
}

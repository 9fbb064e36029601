// The text that a node shows after a run, in full: the classic canvas would show two lines of it, and Nodes 2.0, which
// reads it as Markdown, would join the lines.
import { app } from "../../../scripts/app.js";
import { chain } from "./host.js";

const TEXT_WIDGET = "$$node-text-preview"; // the host's
// In units of the graph.
const MARGIN = { width: 50, height: 34 }; // of the node around the text
const CHARACTER_WIDTH = 6.2;
const LINE_HEIGHT = 16;
const MAX_HEIGHT = 200; // the host's own limit; more is scrolled

/** @param {GraphNode} node a new one whose runs give `ui.text` */
export function giveTextRoom(node) {
    /** @param {{ text?: string[] }} output */
    const show = ({ text }) => {
        const widget = node.widgets?.find(({ name }) => name === TEXT_WIDGET);
        if (!widget || !text) return;
        const lines = text.join("\n").split("\n");
        if (app.extensionManager.setting.get("Comfy.VueNodes.Enabled")) {
            widget.value = lines.join("  \n"); // Markdown's line break
            return;
        }
        const width = Math.max((node.size[0] - MARGIN.width) / CHARACTER_WIDTH, 1);
        const rows = lines.reduce((sum, line) => sum + Math.max(Math.ceil(line.length / width), 1), 0);
        Object.assign(widget.options, { getMinHeight: () => MARGIN.height + Math.min(LINE_HEIGHT * rows, MAX_HEIGHT) });
        node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
        node.setDirtyCanvas(true, true);
    };
    chain(node, "onExecuted", show);
}

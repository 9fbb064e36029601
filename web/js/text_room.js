// Room for what a node says of its run: the canvas gives it two lines, and Nodes 2.0 reads it as Markdown.
import { app } from "../../../scripts/app.js";
import { chain } from "./host.js";

const TEXT = "$$node-text-preview"; // the host's widget for it
const MARGIN = { beside: 50, around: 34 }; // canvas units, as are the next two
const CHARACTER = 6.2;
const LINE = 16;
const HIGHEST = 200; // of the host's; more is scrolled

/** @param {GraphNode} node just made, which sends `ui.text` */
export function giveTextRoom(node) {
    /** @param {{ text?: string[] }} output */
    const show = ({ text }) => {
        const widget = node.widgets?.find(({ name }) => name === TEXT);
        if (!widget || !text) return;
        const lines = text.join("\n").split("\n");
        if (app.extensionManager.setting.get("Comfy.VueNodes.Enabled")) {
            widget.value = lines.join("  \n"); // its line break
            return;
        }
        const width = Math.max((node.size[0] - MARGIN.beside) / CHARACTER, 1);
        const rows = lines.reduce((sum, line) => sum + Math.max(Math.ceil(line.length / width), 1), 0);
        Object.assign(widget.options, { getMinHeight: () => MARGIN.around + Math.min(LINE * rows, HIGHEST) });
        node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
        node.setDirtyCanvas(true, true);
    };
    chain(node, "onExecuted", show);
}

// The size of the pictures that the node's regions are for, as far as the graph tells it before a run.
import { sideOf } from "./sides.js";

const TO_SAMPLERS = ["REGIONAL_PROMPTS", "GUIDER", "MASK"]; // types of the links on the way from the regions
const PICTURES = ["LoadImage"]; // nodes whose shown picture is what they return
const MAX_NODES = 50;
const LATENT_PIXEL = 8; // pixels

/** The input that gives the proportions of what these nodes of the host return. @type {Record<string, string>} */
const SAME_PROPORTIONS = {
    VAEEncode: "pixels",
    VAEEncodeTiled: "pixels",
    VAEEncodeForInpaint: "pixels",
    SetLatentNoiseMask: "samples",
    RepeatLatentBatch: "samples",
    LatentUpscaleBy: "samples",
    ImageScaleBy: "image",
};

/**
 * The size in pixels of a latent that the regions meet and that would stretch them; null if none is known.
 *
 * @param {GraphNode} node
 * @param {Size} canvas the node's own
 * @returns {Size | null}
 */
export function unlikeLatent(node, canvas) {
    const seen = new Set([node]);
    for (const one of seen) {
        if (seen.size > MAX_NODES) break;
        for (const { type, links } of one.outputs) {
            if (!TO_SAMPLERS.includes(String(type))) continue;
            for (const id of links ?? []) {
                const target = one.graph?.getNodeById(one.graph.getLink(id)?.target_id);
                if (target) seen.add(target);
            }
        }
    }
    for (const one of seen) {
        for (const [slot, { type, link }] of one.inputs.entries()) {
            const source = type === "LATENT" && link != null ? one.getInputNode(slot) : null;
            const size = source && sizeOf(source);
            if (size && isStretched(canvas, size)) return size;
        }
    }
    return null;
}

/** The size in pixels of what a node returns; null if unknown. @param {GraphNode} node @returns {Size | null} */
function sizeOf(node) {
    /** @type {GraphNode | null} */
    let source = node;
    for (let depth = 0; source && depth < MAX_NODES; depth++) {
        const [width, height] = [sideOf(source, "width"), sideOf(source, "height")];
        if (width && height) return { width, height };
        const picture = PICTURES.includes(source.comfyClass ?? "") ? source.imgs?.[0] : null;
        if (picture?.naturalWidth) return { width: picture.naturalWidth, height: picture.naturalHeight };
        const input = SAME_PROPORTIONS[source.comfyClass ?? ""];
        const slot = source.inputs.findIndex(({ name }) => name === input);
        source = slot < 0 ? null : source.getInputNode(slot);
    }
    return null;
}

/** Whether the canvas has to be stretched by more than a latent pixel. @param {Size} canvas @param {Size} latent */
function isStretched(canvas, { width, height }) {
    const tooHigh = Math.abs((width * canvas.height) / canvas.width - height);
    const tooWide = Math.abs((height * canvas.width) / canvas.height - width);
    return Math.min(tooHigh, tooWide) > LATENT_PIXEL;
}

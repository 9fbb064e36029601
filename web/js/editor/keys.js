// The keyboard focus of the editor.
import { say } from "../words.js";
import { element } from "./page.js";

export class Keys {
    // The focus of the canvas is on this invisible input, as the host ignores keys that are pressed in an input:
    // otherwise Delete would remove the node, and Ctrl+Z would undo in the graph.
    input = element("input", { className: "keys", type: "text", readOnly: true, ariaLabel: say("Regions") });

    #run;

    /**
     * @param {HTMLElement} root of the editor
     * @param {(event: KeyboardEvent) => boolean} run does what the key stands for; false: it is not the editor's
     */
    constructor(root, run) {
        this.#run = run;
        root.addEventListener("keydown", (event) => this.#onKey(event));
        root.addEventListener("keyup", (event) => event.stopPropagation());
        // In the capture phase: a field that loses the focus may change the drawing, which cancels a drag. So it must
        // lose the focus before the canvas starts a drag.
        root.addEventListener("pointerdown", (event) => this.#onPress(event), true);
        for (const type of ["copy", "cut", "paste"]) {
            root.addEventListener(type, (event) => event.stopPropagation());
        }
    }

    focus() {
        this.input.focus({ preventScroll: true });
    }

    /** A press on anything but a field or a button gives the focus to the canvas. @param {PointerEvent} event */
    #onPress(event) {
        if (!(event.target instanceof Element)) return;
        if (event.target.closest("input:not(.keys), textarea, button")) return;
        event.preventDefault();
        this.focus();
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        event.stopPropagation(); // the graph gets no keys from here
        const { target } = event;
        if (target !== this.input) {
            if (event.key === "Escape") this.focus();
            // An empty prompt has nothing to undo: there Ctrl+Z and the like are the editor's. A drawn region's prompt
            // gets the focus at once, and Ctrl+Z should undo the drawing.
            const isEmptyPrompt = target instanceof HTMLTextAreaElement && !target.value;
            if (!isEmptyPrompt || !(event.ctrlKey || event.metaKey)) return;
        }
        if (!this.#run(event)) return;
        event.preventDefault();
        // The prompt may have been removed: without a focus, the next key would go to the graph.
        if (target !== this.input) this.focus();
    }
}

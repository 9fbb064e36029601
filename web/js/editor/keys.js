// The keyboard focus of the editor. Only keys that do something here stay here; the host's own shortcuts go on.
import { say } from "../words.js";
import { element } from "./page.js";

const FIELDS = "input:not(.keys), textarea";

export class Keys {
    // The focus of the canvas is on this invisible input, as the host ignores keys without Ctrl or Alt that are pressed
    // in an input: otherwise Delete would remove the node, and Ctrl+Z would undo in the graph.
    input = element("input", { className: "keys", type: "text", readOnly: true, ariaLabel: say("Regions") });
    /** @type {Element | null} a prompt that got the focus by a stroke, until something is done in it */
    #untouched = null;

    #root;
    #run;

    /**
     * @param {HTMLElement} root of the editor
     * @param {(event: KeyboardEvent) => boolean} run does what the key stands for; false: it is not the editor's
     */
    constructor(root, run) {
        this.#root = root;
        this.#run = run;
        root.addEventListener("keydown", (event) => this.#onKey(event));
        // In the capture phase: a field that loses the focus may change the drawing, which cancels a drag. So it must
        // lose the focus before the canvas starts a drag.
        root.addEventListener("pointerdown", (event) => this.#onPress(event), true);
        for (const type of ["input", "pointerdown", "focusout"]) {
            root.addEventListener(type, () => void (this.#untouched = null));
        }
        for (const type of ["copy", "cut", "paste"]) {
            root.addEventListener(type, (event) => event.stopPropagation());
        }
    }

    focus() {
        this.input.focus({ preventScroll: true });
    }

    /** Whether a field of the editor has the focus. */
    get isInField() {
        const { activeElement } = document;
        return this.#root.contains(activeElement) && Boolean(activeElement?.matches(FIELDS));
    }

    /** The prompt that now has the focus got it by a stroke: more of them may follow. */
    afterStroke() {
        this.#untouched = document.activeElement;
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
        const { target, key } = event;
        if (event.isComposing || !(target instanceof Element)) return;
        if (target.matches(FIELDS) && !this.#isForCanvas(event, target)) {
            // With Enter, a field's value is taken before Ctrl+Enter runs the workflow.
            const isTaken = key === "Enter" && target.matches("[type=text], [type=number]");
            if (key === "Escape") event.stopPropagation();
            if (key === "Escape" || isTaken) this.focus();
            return;
        }
        // On a button, these press it.
        const pressesButton = target instanceof HTMLButtonElement && (key === "Enter" || key === " ");
        const isUsed = !pressesButton && this.#run(event);
        const isModified = event.ctrlKey || event.metaKey || event.altKey;
        // Elsewhere than in an input the host would take plain keys for the graph's: Delete would remove the node.
        if (isUsed || (!isModified && !target.matches("input, textarea"))) event.stopPropagation();
        if (!isUsed) return;
        event.preventDefault();
        // The prompt may have been removed: without a focus, the next key would go to the graph.
        if (target !== this.input && (isModified || !target.isConnected)) this.focus();
    }

    /** Whether a key in a field may be the canvas's. @param {KeyboardEvent} event @param {Element} field */
    #isForCanvas(event, field) {
        if (!(field instanceof HTMLTextAreaElement)) return false;
        const isUntouched = field === this.#untouched;
        // A drawn region's prompt gets the focus at once. As long as it has nothing of its own to undo, Ctrl+Z and the
        // like should undo the drawing.
        if (event.ctrlKey || event.metaKey) return !field.value || isUntouched;
        return isUntouched && !event.altKey && (event.key === "[" || event.key === "]");
    }
}

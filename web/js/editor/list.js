// The list beside the canvas: a card for each region, in the order of the regions.
import { say } from "../words.js";
import { Card } from "./card.js";
import { element } from "./page.js";

/** @typedef {import("./drawing.js").Drawing} Drawing */

export class List {
    root = element("div", { className: "regional-editor-list" });
    #drawing;
    #size;
    /** @type {Map<number, Card>} by the id of the region */
    #cards = new Map();
    #empty = element("p", { className: "regional-editor-empty", textContent: say("No regions yet.") });

    /** @param {Drawing} drawing @param {() => Size} size of the picture */
    constructor(drawing, size) {
        this.#drawing = drawing;
        this.#size = size;
        this.root.dataset.captureWheel = "true"; // tells the host that the element scrolls by itself
        drawing.listen(() => this.show());
        this.show();
    }

    /** Puts the cursor into the selected region's prompt. */
    edit() {
        const { selected } = this.#drawing;
        if (selected !== null) this.#cards.get(selected)?.prompt.focus({ preventScroll: true });
    }

    show() {
        const { regions, selected } = this.#drawing;
        const ids = new Set(regions.map(({ id }) => id));
        for (const [id, { root }] of this.#cards) {
            if (ids.has(id)) continue;
            // In this order: a card that is removed with the focus in it sends focusout, which calls show() again.
            this.#cards.delete(id);
            root.remove();
        }
        this.#empty.hidden = regions.length > 0;
        if (!this.#empty.isConnected) this.root.append(this.#empty);
        for (const [index, region] of regions.entries()) {
            const card = this.#cards.get(region.id) ?? this.#add(region.id);
            card.show(region, index + 1);
            const wasSelected = card.root.classList.contains("selected");
            card.root.classList.toggle("selected", region.id === selected);
            // A card in its place is not inserted again: it would lose the focus.
            const atIndex = this.root.children[index];
            if (atIndex !== card.root) this.root.insertBefore(card.root, atIndex ?? null);
            if (region.id === selected && !wasSelected) this.#reveal(card.root);
        }
    }

    /** @param {number} id */
    #add(id) {
        const drawing = this.#drawing;
        const card = new Card(drawing, id, this.#size);
        card.root.addEventListener("focusout", () => {
            drawing.endMerging();
            this.show();
        });
        card.grip.addEventListener("pointerdown", (event) => this.#startReorder(event, id, card.grip));
        this.#cards.set(id, card);
        return card;
    }

    /** Scrolls to a card. @param {HTMLElement} card */
    #reveal(card) {
        const { root } = this;
        const [top, bottom] = [card.offsetTop, card.offsetTop + card.offsetHeight];
        if (top < root.scrollTop) root.scrollTop = top;
        else if (bottom > root.scrollTop + root.clientHeight) root.scrollTop = bottom - root.clientHeight;
    }

    /** @param {PointerEvent} event @param {number} id @param {HTMLElement} grip */
    #startReorder(event, id, grip) {
        if (event.button !== 0) return;
        event.preventDefault();
        const drawing = this.#drawing;
        const listeners = new AbortController();
        const { signal } = listeners;
        drawing.select(id);
        drawing.begin();
        grip.classList.add("dragging");
        const follow = (/** @type {PointerEvent} */ { clientY }) => {
            const others = [...this.#cards].filter(([other]) => other !== id);
            const isAbove = (/** @type {HTMLElement} */ card) => {
                const { top, height } = card.getBoundingClientRect();
                return top + height / 2 < clientY;
            };
            const index = others.filter(([, { root }]) => isAbove(root)).length;
            if (drawing.regions[index]?.id !== id) drawing.drag(drawing.reordered(id, index));
        };
        const end = (/** @type {boolean} */ isKept) => {
            listeners.abort();
            grip.classList.remove("dragging");
            if (isKept) drawing.drop();
            else drawing.cancel();
        };
        // On the window: the pointer capture of a card ends when the card is moved in the list.
        window.addEventListener("pointermove", follow, { signal, capture: true });
        window.addEventListener("pointerup", () => end(true), { signal, capture: true });
        window.addEventListener("pointercancel", () => end(false), { signal, capture: true });
    }
}

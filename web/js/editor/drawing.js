// The state of a drawing: regions, undo history, selection. Does not use the DOM.
import { MAX_REGIONS, PALETTE, defaultColor, defaultName, newId, parse, stringify } from "./drawing_json.js";
import { bounds, contains, fit, mirror, move } from "./shapes.js";

/**
 * @typedef {import("./drawing_json.js").Fields} Fields
 * @typedef {import("./drawing_json.js").Region} Region
 * @typedef {import("./drawing_json.js").Picture} Picture
 * @typedef {import("./drawing_json.js").Snapshot} Snapshot
 * @typedef {(isStep: boolean | null) => void} Listener isStep: whether the change is an undo step; null: other drawing
 */

const MAX_STEPS = 200;

/** Snapshots are never changed in place. Every change is reported to the listeners. */
export class Drawing {
    /** @type {Snapshot} */
    #now = { regions: [], background: null };
    /** @type {Snapshot[]} */
    #past = [];
    /** @type {Snapshot[]} */
    #future = [];
    /** @type {Snapshot | null} the state before the current drag; null: no drag */
    #beforeDrag = null;
    /** @type {string | null} changes with this key join the last undo step */
    #mergeKey = null;
    /** @type {Set<Listener>} */
    #listeners = new Set();
    /** @type {number | null} id of a region */
    selected = null;
    /** Called when no further change joins the last undo step, after changes that could be joined. */
    onMerged = () => {};
    /** Called when a region is not added because there are MAX_REGIONS. */
    onFull = () => {};
    /** JSON that is no drawing: kept unchanged, with the reason to show; no reason: there is none. */
    unreadable = { json: "", reason: "" };

    get regions() {
        return this.#now.regions;
    }

    get background() {
        return this.#now.background;
    }

    /** The selected region. */
    get region() {
        return this.#find(this.selected);
    }

    get canUndo() {
        return this.#past.length > 0;
    }

    get canRedo() {
        return this.#future.length > 0;
    }

    /** Whether a change with the same key would join the last undo step. */
    get isMerging() {
        return this.#mergeKey !== null;
    }

    get isDragging() {
        return this.#beforeDrag !== null;
    }

    get json() {
        return this.unreadable.reason ? this.unreadable.json : stringify(this.#now);
    }

    /** Loads a saved drawing, with an empty history. The current drawing, loaded again, changes nothing. */
    set json(json) {
        if (json === this.json && !this.unreadable.reason) return;
        const index = this.regions.findIndex(({ id }) => id === this.selected);
        this.unreadable = { json: "", reason: "" };
        try {
            this.#now = parse(json);
        } catch (error) {
            this.#now = { regions: [], background: null };
            this.unreadable = { json, reason: error instanceof Error ? error.message : String(error) };
        }
        [this.#past, this.#future, this.#beforeDrag, this.#mergeKey] = [[], [], null, null];
        this.selected = this.regions[index]?.id ?? null;
        this.#notify(null);
    }

    /**
     * Takes over the history of a drawing that this one replaces, if this one's state is in it and it has none itself.
     *
     * @param {Drawing} before
     */
    continueHistory(before) {
        if (this.canUndo || this.canRedo || this.isDragging || this.unreadable.reason) return;
        const states = [...before.#past, before.#now, ...before.#future.toReversed()];
        const json = this.json;
        let index = before.#past.length;
        if (before.json !== json) index = states.findLastIndex((state) => stringify(state) === json);
        const state = states[index];
        if (!state) return;
        const selected = this.regions.findIndex(({ id }) => id === this.selected);
        [this.#past, this.#now, this.#future] = [states.slice(0, index), state, states.slice(index + 1).reverse()];
        this.selected = this.regions[selected]?.id ?? null;
        this.#notify(false);
    }

    /** @param {Listener} listener */
    listen(listener) {
        this.#listeners.add(listener);
    }

    /** @param {boolean | null} isStep */
    #notify(isStep) {
        for (const listener of this.#listeners) listener(isStep);
    }

    /** @param {number | null} id */
    #find(id) {
        return this.regions.find((region) => region.id === id);
    }

    /**
     * Makes one undo step; a drag is cancelled first. Consecutive changes with the same key are one step.
     *
     * @param {Partial<Snapshot>} to
     * @param {string | null} [mergeKey]
     */
    change(to, mergeKey = null) {
        this.cancel();
        if (this.unreadable.reason) return;
        const next = { ...this.#now, ...to };
        if (stringify(next) === stringify(this.#now)) return;
        if (mergeKey === null || mergeKey !== this.#mergeKey) {
            this.endMerging();
            this.#record(this.#now);
        }
        this.#mergeKey = mergeKey;
        this.#now = next;
        this.#dropLostSelection();
        this.#notify(true);
    }

    /** @param {Snapshot} snapshot */
    #record(snapshot) {
        this.#past = [...this.#past, snapshot].slice(-MAX_STEPS);
        this.#future = [];
    }

    #dropLostSelection() {
        if (!this.region) this.selected = null;
    }

    /** Starts a drag: `drag` shows its states, `drop` makes the last one an undo step, `cancel` restores the first. */
    begin() {
        this.cancel();
        this.endMerging();
        if (!this.unreadable.reason) this.#beforeDrag = this.#now;
    }

    /** @param {Region[]} regions */
    drag(regions) {
        if (!this.#beforeDrag) return;
        this.#now = { ...this.#now, regions };
        this.#notify(false);
    }

    /** @param {number} id @param {Shape} shape */
    dragShape(id, shape) {
        this.drag(this.regions.map((region) => (region.id === id ? { ...region, shape } : region)));
    }

    drop() {
        const before = this.#beforeDrag;
        this.#beforeDrag = null;
        if (!before || stringify(before) === stringify(this.#now)) return;
        this.#record(before);
        this.#notify(true);
    }

    cancel() {
        if (!this.#beforeDrag) return;
        this.#now = this.#beforeDrag;
        this.#beforeDrag = null;
        this.#dropLostSelection();
        this.#notify(false);
    }

    /** During a drag: cancels it instead. */
    undo() {
        this.#restore(this.#past, this.#future);
    }

    /** During a drag: cancels it instead. */
    redo() {
        this.#restore(this.#future, this.#past);
    }

    /** @param {Snapshot[]} from @param {Snapshot[]} to */
    #restore(from, to) {
        if (this.isDragging) return this.cancel();
        this.endMerging();
        const snapshot = from.pop();
        if (!snapshot) return;
        to.push(this.#now);
        this.#now = snapshot;
        this.#dropLostSelection();
        this.#notify(true);
    }

    /** The next change is an undo step of its own. */
    endMerging() {
        if (!this.isMerging) return;
        this.#mergeKey = null;
        this.onMerged();
    }

    /** @param {number | null} id */
    select(id) {
        if (id === this.selected) return;
        this.selected = id;
        this.endMerging();
        this.#notify(false);
    }

    /** The regions at a point, the uppermost first. @param {Point} at */
    regionsAt(at) {
        return this.regions.filter(({ shape }) => contains(shape, at)).reverse();
    }

    /** @param {number} id @param {Partial<Fields>} fields @param {string | null} [mergeKey] */
    set(id, fields, mergeKey = null) {
        this.cancel();
        const regions = this.regions.map((region) => (region.id === id ? { ...region, ...fields } : region));
        this.change({ regions }, mergeKey);
    }

    /**
     * A new region with a free name and, as long as there is one, a free colour.
     *
     * @param {Shape} shape
     * @returns {Region}
     */
    #make(shape) {
        const names = new Set(this.regions.map(({ name }) => name));
        const colors = new Set(this.regions.map(({ color }) => color));
        let number = this.regions.length + 1;
        while (names.has(defaultName(number))) number++;
        const color = PALETTE.find((one) => !colors.has(one)) ?? defaultColor(this.regions.length);
        const rest = { prompt: "", weight: 1, start: 0, end: 1, denoise: 1, enabled: true, shape };
        return { id: newId(), name: defaultName(number), color, ...rest };
    }

    /** Adds a region on top and selects it. @param {Shape} shape */
    add(shape) {
        this.cancel();
        if (this.regions.length >= MAX_REGIONS) return this.onFull();
        const region = this.#make(shape);
        this.change({ regions: [...this.regions, region] });
        this.select(region.id);
    }

    clear() {
        this.change({ regions: [] });
    }

    /** Removes a region. No other is selected, so that a second press of the key removes nothing. @param {number} id */
    remove(id) {
        this.cancel();
        this.change({ regions: this.regions.filter((region) => region.id !== id) });
    }

    /**
     * Puts a copy above a region and selects it.
     *
     * @param {number} id
     * @param {number} offset of the copy, in widths and heights of the picture
     */
    duplicate(id, offset = 0.03) {
        this.cancel();
        const index = this.regions.findIndex((region) => region.id === id);
        const region = this.regions[index];
        if (!region) return;
        if (this.regions.length >= MAX_REGIONS) return this.onFull();
        const box = bounds(region.shape);
        const dx = box.x + box.w + offset > 1 ? -offset : offset;
        const dy = box.y + box.h + offset > 1 ? -offset : offset;
        const { id: copy, name, color } = this.#make(region.shape);
        const shape = move(region.shape, dx, dy);
        const regions = this.regions.toSpliced(index + 1, 0, { ...region, id: copy, name, color, shape });
        this.change({ regions });
        this.select(copy);
    }

    /** @param {number} id @param {"x" | "y"} axis x: swaps left and right */
    mirror(id, axis) {
        this.cancel();
        const region = this.#find(id);
        if (region) this.set(id, { shape: mirror(region.shape, axis) });
    }

    /** Consecutive moves of one region are one undo step. @param {number} id @param {number} dx @param {number} dy */
    move(id, dx, dy) {
        this.cancel();
        const region = this.#find(id);
        if (region) this.set(id, { shape: move(region.shape, dx, dy) }, `move ${id}`);
    }

    /** Moves and stretches a region. @param {number} id @param {Partial<import("./shapes.js").Box>} box */
    place(id, box) {
        this.cancel();
        const region = this.#find(id);
        if (region) this.set(id, { shape: fit(region.shape, { ...bounds(region.shape), ...box }) });
    }

    /** The regions with one of them at another index. @param {number} id @param {number} index */
    reordered(id, index) {
        const region = this.#find(id);
        return region ? this.regions.filter((one) => one !== region).toSpliced(index, 0, region) : this.regions;
    }

    /**
     * Moves a region in the list.
     *
     * @param {number} id
     * @param {number} by 1: down the list by one place, which is up in the picture
     */
    reorder(id, by) {
        this.cancel();
        const index = this.regions.findIndex((region) => region.id === id) + by;
        if (index >= 0 && index < this.regions.length) this.change({ regions: this.reordered(id, index) });
    }
}

// The place of the picture on the canvas element, and the mapping between the two. Does not use the DOM.
import { HANDLES } from "./shapes.js";

/**
 * @typedef {import("./shapes.js").Box} Box
 * @typedef {typeof HANDLES[number]} Handle
 */

export const MARGIN = 12; // CSS pixels around the picture: room for the handles
export const SMALLEST = 4; // pixels of the picture: the least side of a region, and the least diameter of the brush
const GRAB_DISTANCE = 9; // CSS pixels between pointer and handle

/** The picture's box on the canvas element in CSS pixels: as large as fits, centred. */
export class Frame {
    /**
     * @param {number} width of the canvas element in CSS pixels
     * @param {number} height
     * @param {Size} picture
     */
    constructor(width, height, picture) {
        const [roomX, roomY] = [width - 2 * MARGIN, height - 2 * MARGIN];
        const scale = Math.max(Math.min(roomX / picture.width, roomY / picture.height), 0);
        this.w = picture.width * scale;
        this.h = picture.height * scale;
        this.x = MARGIN + (roomX - this.w) / 2;
        this.y = MARGIN + (roomY - this.h) / 2;
    }

    /** @param {number} x CSS pixels @param {number} y CSS pixels @returns {Point} of the picture */
    toPicture(x, y) {
        return [(x - this.x) / this.w, (y - this.y) / this.h];
    }

    /** @param {Point} point of the picture @returns {Point} in CSS pixels */
    toCanvas([x, y]) {
        return [this.x + x * this.w, this.y + y * this.h];
    }

    /** @param {Box} box of the picture @returns {Box} in CSS pixels */
    boxToCanvas(box) {
        const [x, y] = this.toCanvas([box.x, box.y]);
        return { x, y, w: box.w * this.w, h: box.h * this.h };
    }

    /** The handles of a box with their places in CSS pixels. @param {Box} box @returns {[Handle, number, number][]} */
    handles(box) {
        const { x, y, w, h } = this.boxToCanvas(box);
        return HANDLES.map((name) => [
            name,
            name.includes("w") ? x : name.includes("e") ? x + w : x + w / 2,
            name.includes("n") ? y : name.includes("s") ? y + h : y + h / 2,
        ]);
    }

    /**
     * The handle of a box that is nearest to a point; null if none is near.
     *
     * @param {Box} box
     * @param {Point} at
     * @returns {Handle | null}
     */
    handleAt(box, at) {
        const [x, y] = this.toCanvas(at);
        let [found, nearest] = [/** @type {Handle | null} */ (null), GRAB_DISTANCE];
        for (const [name, handleX, handleY] of this.handles(box)) {
            const distance = Math.max(Math.abs(handleX - x), Math.abs(handleY - y));
            if (distance < nearest) [found, nearest] = [name, distance];
        }
        return found;
    }
}

import { say } from "../../words.js";
import { dragBox } from "./box.js";

/** @type {Tool} */
export const rectangle = {
    name: "rect",
    key: "r",
    title: () => say("Draw a rectangle (R)"),
    cursor: "crosshair",
    press: (stage, at) => dragBox("rect", stage, at),
};

import { say } from "../../words.js";
import { dragBox } from "./box.js";

/** @type {Tool} */
export const ellipse = {
    name: "ellipse",
    key: "e",
    title: () => say("Draw an ellipse (E)"),
    cursor: "crosshair",
    press: (stage, at) => dragBox("ellipse", stage, at),
};

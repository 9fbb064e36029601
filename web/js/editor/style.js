// The style sheet of the editor. It is part of each editor's own element: nothing is added to the shared document.
import { element } from "./page.js";

let css = "";

/** Fetches the style sheet, once, before the first editor is made: a node is measured as soon as it is there. */
export async function loadStyle() {
    const response = await fetch(new URL("./editor.css", import.meta.url));
    if (!response.ok) throw new Error(`${response.url}: ${response.status} ${response.statusText}`);
    css = await response.text();
}

export const styleElement = () => element("style", { textContent: css });

// Mouse events for the graph. On the classic canvas the editor's element lies above the graph and would keep them.
import { app } from "../../../../scripts/app.js";

const isClassic = () => !app.extensionManager.setting.get("Comfy.VueNodes.Enabled");
const isMiddle = (/** @type {PointerEvent} */ event) => event.button === 1 || event.buttons === 4;

/**
 * Passes the wheel and the middle button on to the graph.
 *
 * @param {HTMLElement} root of the editor
 * @param {HTMLElement} list keeps the wheel while it can scroll
 */
export function passMouseToGraph(root, list) {
    root.addEventListener("wheel", (event) => {
        const isOverList = event.target instanceof Node && list.contains(event.target);
        const scrollsList = isOverList && !event.ctrlKey && list.scrollHeight > list.clientHeight;
        if (!isClassic() || scrollsList) return;
        event.preventDefault();
        app.canvas.processMouseWheel(event);
    });
    root.addEventListener("pointerdown", (event) => {
        if (isClassic() && isMiddle(event)) app.canvas.processMouseDown(event);
    });
    root.addEventListener("pointermove", (event) => {
        if (isClassic() && isMiddle(event)) app.canvas.processMouseMove(event);
    });
    root.addEventListener("pointerup", (event) => {
        if (isClassic() && isMiddle(event)) app.canvas.processMouseUp(event);
    });
}

import { app } from "../../../../scripts/app.js";
import { say } from "../words.js";

/** Shows a message for some seconds. @param {"info" | "warn" | "error"} severity @param {string} detail */
export function toast(severity, detail) {
    app.extensionManager.toast.add({ severity, summary: say("Regional Editor"), detail, life: 6000 });
}

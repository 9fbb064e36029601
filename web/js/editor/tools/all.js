import { brush } from "./brush.js";
import { ellipse } from "./ellipse.js";
import { eraser } from "./eraser.js";
import { freehand } from "./freehand.js";
import { rectangle } from "./rectangle.js";
import { select } from "./select.js";

/** In the order of the toolbar. */
export const TOOLS = [select, rectangle, ellipse, freehand, brush, eraser];

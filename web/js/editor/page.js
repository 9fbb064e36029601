// Elements of the page, and the pictures on buttons.

// Strokes on a field of 24 x 24.
const ICONS = {
    select: "M5 3l6 17 2.5-7 7-2.5z",
    rect: "M4 6h16v12H4z",
    ellipse: "M12 5c5 0 9 3 9 7s-4 7-9 7-9-3-9-7 4-7 9-7z",
    freehand: "M4 17c-3-6 3-13 9-12s10 6 6 10-6 0-9 3-4 3-6-1z",
    brush: "M20 3c-5 2-9 6-11 10l2 2c4-2 8-6 10-11zM8 14c-3 0-3 4-5 6 4 1 8 0 7-4z",
    eraser: "M14 4l6 6-9 9H7l-4-4zM9 9l6 6M11 19h9",
    undo: "M9 5L4 10l5 5M4 10h10a6 5 0 0 1 0 10h-3",
    redo: "M15 5l5 5-5 5M20 10H10a6 5 0 0 0 0 10h3",
    duplicate: "M9 9h11v11H9zM15 9V4H4v11h5",
    mirrorX: "M12 3v18M8 7v10H3zM16 7v10h5z",
    mirrorY: "M3 12h18M7 8h10V3zM7 16h10v5z",
    snap: "M5 3v9a7 7 0 0 0 14 0V3h-4v9a3 3 0 0 1-6 0V3zM5 7h4M15 7h4",
    picture: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 5M16 9h.01",
    pictureOff: "M3 5h18v14H3zM8 9l8 6M16 9l-8 6",
    eye: "M2 12c5-8 15-8 20 0-5 8-15 8-20 0zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
    clear: "M2 7h12M6 7V4h4v3M4 7l1 13h6l1-13M17 11h5M16 15h6M16 19h6",
    remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
};

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @returns {HTMLElementTagNameMap[K]}
 */
export const element = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

/**
 * @param {keyof typeof ICONS} icon
 * @param {string} title
 * @param {() => void} action
 */
export function button(icon, title, action) {
    const made = element("button", { type: "button", title, ariaLabel: title });
    made.dataset.icon = icon;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[icon]);
    svg.append(path);
    made.append(svg);
    made.addEventListener("click", action);
    return made;
}

let hasStyle = false;

/** Loads the style sheet beside this module, once. */
export function loadStyle() {
    if (hasStyle) return;
    hasStyle = true;
    document.head.append(element("link", { rel: "stylesheet", href: new URL("./editor.css", import.meta.url).href }));
}

// DOM elements: short ways to make them, and the icons of the buttons.

// Classes of PrimeIcons, which the frontend brings.
const ICONS = {
    select: "pi-arrow-up-left",
    rect: "pi-stop",
    ellipse: "pi-circle",
    freehand: "pi-pencil",
    brush: "pi-palette",
    eraser: "pi-eraser",
    undo: "pi-undo",
    redo: "pi-refresh",
    duplicate: "pi-clone",
    mirrorX: "pi-arrows-h",
    mirrorY: "pi-arrows-v",
    remove: "pi-trash",
    clear: "pi-times-circle",
    snap: "pi-table",
    picture: "pi-image",
    pictureOff: "pi-image",
    eye: "pi-eye",
    eyeOff: "pi-eye-slash",
};

/** @typedef {keyof typeof ICONS} Icon */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @returns {HTMLElementTagNameMap[K]}
 */
export const element = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

/**
 * @param {Icon} icon
 * @param {string} title
 * @param {() => void} action
 */
export function button(icon, title, action) {
    const result = element("button", { type: "button", title, ariaLabel: title });
    result.dataset.icon = icon;
    result.append(element("i"));
    setIcon(result, icon);
    result.addEventListener("click", action);
    return result;
}

/** @param {HTMLButtonElement} button @param {Icon} icon */
export function setIcon(button, icon) {
    const { firstElementChild } = button;
    if (firstElementChild) firstElementChild.className = `pi ${ICONS[icon]}`;
}

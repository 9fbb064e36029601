// Texts in the language of the settings. Does not use the DOM.

const SECTION = "regionalSampling"; // in locales/<language>/main.json, as scripts/make_locales.py writes it

/** @type {Record<string, string>} translations by the English text */
let words = {};

/**
 * Loads the translations that `say` uses. Without them, `say` gives the English text.
 *
 * @param {string} language the host's name for it, such as zh-TW
 * @param {() => Promise<Record<string, any>>} fetchAll gets the translations of all packs by language
 */
export async function loadTranslations(language, fetchAll) {
    try {
        words = language === "en" ? {} : ((await fetchAll())[language]?.[SECTION] ?? {});
    } catch {
        words = {};
    }
}

/**
 * The text in the language of the settings.
 *
 * @param {string} text in English; a literal in double quotes, by which scripts/make_locales.py finds it
 * @param {Record<string, string | number>} [values] of the {names} in the text
 */
export function say(text, values = {}) {
    return (words[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

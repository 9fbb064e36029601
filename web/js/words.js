// What the pack says, in the language of the settings. Knows nothing of the page.

const ROOM = "regionalSampling"; // in locales/<language>/main.json, as scripts/make_locales.py writes it

/** @type {Record<string, string>} by the English text */
let words = {};

/**
 * From now on `say` speaks this language, or English where there are no words of it.
 *
 * @param {string} language as the host names it: zh-TW
 * @param {() => Promise<Record<string, any>>} fetchAll the words of all packs by language
 */
export async function learn(language, fetchAll) {
    try {
        words = language === "en" ? {} : ((await fetchAll())[language]?.[ROOM] ?? {});
    } catch {
        words = {};
    }
}

/**
 * @param {string} text in English; a literal, which scripts/make_locales.py finds
 * @param {Record<string, string | number>} [values] of what is in braces in it
 */
export function say(text, values = {}) {
    return (words[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

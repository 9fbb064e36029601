// Random choices in prompts, as ComfyUI's own prompt widgets make them.

/**
 * The prompt with each {a|b} replaced by one of its parts, and without comments.
 *
 * @param {string} prompt
 * @param {() => number} [random] from 0 up to but not including 1
 */
export function choose(prompt, random = Math.random) {
    let result = prompt.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    const innermost = /(?<!\\)\{([^{}]*?)(?<!\\)\}/;
    for (let found = innermost.exec(result); found; found = innermost.exec(result)) {
        const parts = (found[1] ?? "").split("|");
        const part = parts[Math.floor(random() * parts.length)] ?? "";
        result = result.slice(0, found.index) + part + result.slice(found.index + found[0].length);
    }
    return result.replace(/\\([{}])/g, "$1");
}

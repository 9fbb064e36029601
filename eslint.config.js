import js from "@eslint/js";
import globals from "globals";

export default [
    { ignores: ["*", "!web", "web/docs", "!eslint.config.js"] },
    js.configs.recommended,
    {
        files: ["web/js/**/*.js"],
        languageOptions: { globals: globals.browser },
        rules: {
            "no-console": "error",  // what a person must know belongs in a toast
            eqeqeq: ["error", "always", { null: "ignore" }],
            "no-var": "error",
            "prefer-const": "error",
            "no-restricted-properties": [
                "error",
                { property: "prototype", message: "Change the node that is ours, not the host's classes." },
            ],
        },
    },
];

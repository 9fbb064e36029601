import js from "@eslint/js";
import globals from "globals";

export default [
    { ignores: ["*", "!web", "web/docs", "!eslint.config.js"] },
    js.configs.recommended,
    {
        files: ["web/js/**/*.js"],
        languageOptions: { globals: globals.browser },
        rules: {
            "no-console": "error",  // messages for the user belong in a toast
            eqeqeq: ["error", "always", { null: "ignore" }],
            "no-var": "error",
            "prefer-const": "error",
            "no-restricted-properties": [
                "error",
                { property: "prototype", message: "Patch the pack's own nodes, not the classes of the host." },
            ],
        },
    },
];

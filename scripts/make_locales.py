"""Write locales/<language>/nodeDefs.json (the texts of the nodes) and main.json (menu categories, texts of web/js).

    .venv/bin/python scripts/make_locales.py

The script starts ComfyUI and reads the English texts from /object_info and from every say("...") in web/js. All other
languages are translated from scripts/translations/<language>.json, a table with the English text as key and the
translation as value. A text that changes in the code has no entry any more, so a translation cannot be out of date.

The script prints each entry that a table lacks or no longer needs, and exits with 1 if there is any. A text without a
translation stays English.

An input id in a translation (overlap_factor) is replaced by the input's label in that language.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from comfy_server import ComfyServer
from dev import HOST, PACKS, ROOT, find_comfyui

LOCALES = ROOT / "locales"
TABLES = ROOT / "scripts" / "translations"
SCRIPTS = ROOT / "web" / "js"
PACK = next(name for name, folder in PACKS.items() if folder == ROOT)
CONTROL = "control_after_generate"  # the frontend's own widget behind a seed
# An input id in a text. \b does not end an id before a Chinese character, and would match in seed+seed_2nd.
INPUT_ID = re.compile(r"(?<![A-Za-z0-9_+-])[a-z]+(?:_[a-z0-9]+)+(?![A-Za-z0-9_])")
NUMBERED = re.compile(r"([a-z_]+)(\d+)")  # regional_prompts1
SAYS = re.compile(r"(?<!function )\bsay\((?:\s*(\"(?:[^\"\\]|\\.)*\"))?")

Info = dict[str, Any]
Defs = dict[str, Any]  # the contents of a language's files, by their stems: nodeDefs, main
Table = dict[str, str]


def english(info: Info) -> Defs:
    """The English texts of this pack's nodes in /object_info and of web/js. An output named by its type has no name."""
    own = {kind: node for kind, node in sorted(info.items()) if node["python_module"] == f"custom_nodes.{PACK}"}
    categories = sorted({part for node in own.values() for part in node["category"].split("/")})
    spoken = said({path.name: path.read_text("utf-8") for path in sorted(SCRIPTS.rglob("*.js"))})
    return {
        "nodeDefs": {_key(kind): _node(node) for kind, node in own.items()},
        # web/js/words.js reads regionalSampling.
        "main": {
            "nodeCategories": {part: part for part in categories},
            "regionalSampling": {one: one for one in spoken},
        },
    }


def said(scripts: dict[str, str]) -> list[str]:
    """The texts of all say("...") calls in `scripts` (file name: source); ValueError for one without a literal."""
    texts = {}
    for name, script in scripts.items():
        for found in SAYS.finditer(script):
            if not found[1]:
                line = script.count("\n", 0, found.start()) + 1
                raise ValueError(f"{name}, line {line}: say() takes a text in double quotes, to be found by this")
            texts[json.loads(found[1])] = None
    return list(texts)


def _node(node: Info) -> Defs:
    inputs: Defs = {}
    for group in ("required", "optional"):
        for name, (_, *options) in node["input"].get(group, {}).items():
            given = options[0] if options else {}
            inputs[_key(name)] = {"name": name, "tooltip": given.get("tooltip", "")}
            if given.get(CONTROL):
                inputs[CONTROL] = {"name": CONTROL.replace("_", " ")}
    tooltips = node.get("output_tooltips") or [""] * len(node["output"])
    outputs: Defs = {}
    for slot, (kind, name, tooltip) in enumerate(zip(node["output"], node["output_name"], tooltips, strict=True)):
        outputs[str(slot)] = {"tooltip": tooltip} if name == kind else {"name": name, "tooltip": tooltip}
    texts = {"display_name": node["display_name"], "description": node["description"]}
    return {**texts, **({"inputs": inputs} if inputs else {}), "outputs": outputs}


def _key(name: str) -> str:
    """The id as a key of nodeDefs.json: the frontend reads dots as path separators."""
    return name.replace(".", "_")


def stem(text: str) -> str:
    """The text without a trailing number (regional_prompts1 -> regional_prompts), which is its key in the tables."""
    found = NUMBERED.fullmatch(text)
    return found[1] if found else text


def leaves(defs: Defs, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text with its path, such as (RegionalSampler, inputs, seed, tooltip)."""
    for key, value in defs.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def translated(defs: Defs, table: Table) -> Defs:
    """`defs` translated by the table; texts that it lacks stay English."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(one) for key, one in value.items()}
        text = stem(value)
        if not table.get(text):
            return value
        number = value[len(text) :]
        return INPUT_ID.sub(lambda found: table.get(found[0], found[0]), table[text]) + (number and f" {number}")

    return {key: walk(value) for key, value in defs.items()}


def problems(defs: Defs, table: Table) -> list[str]:
    """One line for each text that the table lacks, and for each entry that no text needs any more."""
    texts = dict.fromkeys(stem(text) for _, text in leaves(defs))
    return [f"missing: {text}" for text in texts if not table.get(text)] + [
        f"left over: {text}" for text in table if text not in texts
    ]


def tables() -> dict[str, Table]:
    """The translation tables by language; English has none."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in TABLES.glob("*.json")}


def dumped(defs: Defs) -> str:
    return json.dumps(defs, indent=2, ensure_ascii=False) + "\n"


def write(language: str, defs: Defs) -> None:
    folder = LOCALES / language
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in defs.items():
        (folder / f"{name}.json").write_text(dumped(texts), "utf-8", newline="\n")


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="regional-locales-", ignore_cleanup_errors=True) as base,
        ComfyServer(find_comfyui(), base, PACKS, log=HOST / "locales.log") as running,
    ):
        defs = english(running.get("/object_info"))
        if not defs["nodeDefs"]:
            sys.exit(f"ComfyUI has none of the pack's nodes, its log says why: {running.log}")
    write("en", defs)
    wrong = 0
    for language, table in tables().items():
        write(language, translated(defs, table))
        for problem in problems(defs, table):
            print(f"{language}, {problem}")
            wrong += 1
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Writes locales/<language>/: nodeDefs.json, which ComfyUI's frontend shows the nodes by, and main.json, which has the
parts of the menu and the words of web/js.

    .venv/bin/python scripts/make_locales.py

English is what a real server says of the nodes in /object_info, and every say("...") in web/js. Every other language
comes from a table, scripts/translations/<language>.json, of English texts and theirs: the same text is translated once,
and one that has changed in the code is missing in the table, so no translation can be out of date. What is missing or
left over in a table is printed, and is an error; what is missing stays English.

Where a translation names an input by its id (overlap_factor), the input's label in that language takes its place.
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
# An input's id in a text; the look-arounds are no \\b, to which Chinese is a word, and leave seed+seed_2nd alone.
INPUT_ID = re.compile(r"(?<![A-Za-z0-9_+-])[a-z]+(?:_[a-z0-9]+)+(?![A-Za-z0-9_])")
NUMBERED = re.compile(r"([a-z_]+)(\d+)")  # regional_prompts1
SAYS = re.compile(r"(?<!function )\bsay\((?:\s*(\"(?:[^\"\\]|\\.)*\"))?")

Info = dict[str, Any]
Defs = dict[str, Any]  # of a language: nodeDefs and main, as the files of these names have them
Table = dict[str, str]


def english(info: Info) -> Defs:
    """All texts of this pack, of whose nodes /object_info tells. Outputs that are named by their type have no name."""
    own = {kind: node for kind, node in sorted(info.items()) if node["python_module"] == f"custom_nodes.{PACK}"}
    categories = sorted({part for node in own.values() for part in node["category"].split("/")})
    spoken = said({path.name: path.read_text("utf-8") for path in sorted(SCRIPTS.rglob("*.js"))})
    return {
        "nodeDefs": {_key(kind): _node(node) for kind, node in own.items()},
        # The second room is web/js/words.js's own.
        "main": {
            "nodeCategories": {part: part for part in categories},
            "regionalSampling": {one: one for one in spoken},
        },
    }


def said(scripts: dict[str, str]) -> list[str]:
    """What scripts, by their names, say to the user. ValueError where that is no literal in double quotes."""
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
    """As the frontend writes an id into a path."""
    return name.replace(".", "_")


def stem(text: str) -> str:
    """regional_prompts of regional_prompts1: the table has the first alone."""
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
    """`defs` in another language; English where the table has nothing."""

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
    """What the table lacks, and what it has of texts that are nowhere any more."""
    texts = dict.fromkeys(stem(text) for _, text in leaves(defs))
    return [f"missing: {text}" for text in texts if not table.get(text)] + [
        f"left over: {text}" for text in table if text not in texts
    ]


def tables() -> dict[str, Table]:
    """Every language but English."""
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

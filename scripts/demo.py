"""Runs ComfyUI with this pack, for `dev.py demo` and `dev.py serve`, which start this file with `.venv`'s Python:

    demo.py demo WORKFLOW OUT         samples a saved UI workflow with the demo model; OUT gets its first picture as PNG
    demo.py serve PORT [OPTION ...]   serves until it is stopped; PORT 0 takes a free port, options go to ComfyUI

The environment variable COMFYUI_PATH names ComfyUI's folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer, Event, ServerError, images
from dev import HOST, PACKS
from workflow import to_prompt, use_demo_model


def server(base: Path, log: Path, *args: str, port: int = 0) -> ComfyServer:
    """ComfyUI with this pack and the tests' own, on the GPU if there is one."""
    # Another process imports torch, which would take some hundred MB of this one while it only waits.
    cuda = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    device = [] if subprocess.call([sys.executable, "-P", "-c", cuda]) == 0 else ["--cpu"]
    return ComfyServer(os.environ["COMFYUI_PATH"], base, PACKS, port=port, args=[*device, *args], log=log)


def demo(workflow: str, out: str) -> None:
    saved = json.loads(Path(workflow).read_text("utf-8"))
    print("Starting ComfyUI ...", flush=True)
    with (
        # A new base folder each time: two demos that run at once must not share a database.
        tempfile.TemporaryDirectory(prefix="regional-demo-", ignore_cleanup_errors=True) as base,
        server(Path(base), HOST / "demo.log", "--disable-api-nodes") as running,
    ):
        prompt = use_demo_model(to_prompt(saved, running.get("/object_info")))
        name = Path(workflow).name
        print(f"ComfyUI is up at {running.address}, log in {running.log}. Sampling {name} ...", flush=True)
        start = time.monotonic()
        entry = running.run(prompt, on_progress=ProgressLine(prompt))
        seconds = time.monotonic() - start
        found = images(entry)
        if not found:
            raise ValueError(f"{workflow} ran, but none of its nodes saves or previews an image")
        Path(out).write_bytes(running.view(found[0]))
    print(f"Done in {seconds:.1f} s. The picture: {Path(out).resolve()}")


class ProgressLine:
    """Prints the step of the node that runs: one line, rewritten, on a terminal; elsewhere a line per quarter."""

    def __init__(self, prompt: dict[str, Any]) -> None:
        self.prompt = prompt
        self.quarter: tuple[str, int] | None = None

    def __call__(self, event: Event) -> None:
        if event.kind != "progress":
            return
        node, value, total = str(event.data["node"]), int(event.data["value"]), int(event.data["max"])
        line = f"  {self.prompt.get(node, {}).get('class_type', node)}: step {value} of {total}"
        if sys.stdout.isatty():
            print(f"\r{line}", end="\n" if value >= total else "", flush=True)
        elif self.quarter != (quarter := (node, 4 * value // max(total, 1))):
            self.quarter = quarter
            print(line, flush=True)


def serve(port: str, *options: str) -> None:
    print("Starting ComfyUI ...", flush=True)
    log = HOST / "serve.log"
    with server(HOST / "base", log, "--preview-method", "auto", *options, port=int(port)) as running:
        print(f"ComfyUI with this pack: {running.address} (log: {running.log}). Ctrl-C stops it.", flush=True)
        print(
            "Without a checkpoint: use RegionalTestingLoader as the loader; it knows 'orange spots on cream'.",
            flush=True,
        )
        code = running.wait()
        raise ServerError(f"ComfyUI ended by itself ({code}), with its log's last lines:\n{running.log_tail()}")


def main(command: str, *args: str) -> int:
    # SIGTERM ends this process like Ctrl-C does, so that the server ends as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        {"demo": demo, "serve": serve}[command](*args)
    except (ServerError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

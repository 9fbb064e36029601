"""ComfyUI in this process, for tests: `boot()` makes its modules importable and loads the pack as `pack`."""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def comfyui() -> Path:
    """The ComfyUI folder: COMFYUI_PATH if set, else the one that `scripts/dev.py setup` makes."""
    folder = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".host" / "ComfyUI").resolve()
    if not (folder / "main.py").is_file():
        raise RuntimeError(
            f"no ComfyUI in {folder}: run 'python scripts/dev.py setup', or set COMFYUI_PATH to its folder"
        )
    return folder


def _load_pack() -> ModuleType:
    # By location, not by sys.path: with the pack's folder there, `import nodes` would find the pack's, not ComfyUI's.
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["pack"]
        raise
    return module


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its result, also while an event loop runs in this thread, as Playwright's does from its first use on."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()


@lru_cache(maxsize=1)
def boot_comfyui() -> None:
    """Import ComfyUI with a user folder of its own, so that a person's ComfyUI is left as it is."""
    base = Path(tempfile.mkdtemp(prefix="regional-tests-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    (base / "custom_nodes").mkdir()
    (base / "models" / "checkpoints").mkdir(parents=True)
    sys.path.insert(0, str(comfyui()))

    import torch

    torch.set_num_threads(1)  # two busy torch processes on few cores spin against each other
    argv = sys.argv
    sys.argv = ["main.py", "--base-directory", str(base), *([] if torch.cuda.is_available() else ["--cpu"])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # reads sys.argv once, now
    finally:
        sys.argv = argv

    import server

    server.PromptServer(asyncio.new_event_loop())  # nodes and progress bars look for its instance


@lru_cache(maxsize=1)
def boot() -> ModuleType:
    """ComfyUI and the pack, ready to import; returns the pack. Only the first call does anything."""
    boot_comfyui()
    return _load_pack()


@lru_cache(maxsize=1)
def boot_extra_nodes() -> None:
    """All of ComfyUI's own nodes in `nodes.NODE_CLASS_MAPPINGS`, for tests that need more than `nodes.py` holds."""
    boot_comfyui()
    import nodes

    run_coroutine(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))

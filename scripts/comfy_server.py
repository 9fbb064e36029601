"""A real ComfyUI server as a child process, with the HTTP and websocket client that drives it.

    with ComfyServer(comfyui, base, {"regional-sampling": pack}) as server:
        entry = server.run(prompt, on_progress=print)
        png = server.view(images(entry)[0])

It needs aiohttp and anyio, which `.venv` has. The tests, the demo and the scripts that make files share it.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from anyio.from_thread import BlockingPortal, start_blocking_portal
from folders import link_pack

HOST = "127.0.0.1"
CONNECT_SECONDS = 30.0  # to open a websocket, and to be known to the server

# Requests to this machine's own server must not go through a proxy named in the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(RuntimeError):
    """The server did not start, ended during a run, or did not answer in time."""


class HttpError(ServerError):
    """An HTTP status of 400 or more; `reply` is the parsed JSON body, or the body's text."""

    def __init__(self, method: str, path: str, status: int, reply: Any) -> None:
        super().__init__(f"{method} {path}: HTTP {status}: {reply}")
        self.status, self.reply = status, reply


class PromptRejected(ServerError):
    """The prompt failed the server's validation; `reply` holds `error` and `node_errors` as it sent them."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        lines = []
        if error := reply.get("error"):
            lines.append(_sentence(error))
        for node, report in reply.get("node_errors", {}).items():
            lines += [f"  node {node} ({report['class_type']}): {_sentence(error)}" for error in report["errors"]]
        super().__init__("the server refused the prompt: " + "\n".join(lines))
        self.reply = reply


class ExecutionFailed(ServerError):
    """A node raised while the prompt ran; `details` is the server's `execution_error` message."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        kind, message = details["exception_type"], str(details["exception_message"]).strip()
        super().__init__(f"node {details['node_id']} ({details['node_type']}) raised {kind}: {message}")
        self.details = details


class Interrupted(ServerError):
    """The prompt was cancelled while it ran."""


@dataclass(frozen=True)
class Event:
    """One message of the server about a running prompt.

    `kind` is the server's own message type (`executing`, `progress`, `progress_state`, `executed`, ...) with its
    `data`, or `preview`, whose `data` is the metadata (`node_id`, `image_type`, ...) of the encoded `image`.
    """

    kind: str
    data: dict[str, Any]
    image: bytes = b""


class ComfyServer:
    """Runs the ComfyUI in the folder `comfyui`; its models, outputs and settings are under `base`.

    `packs` maps names under `custom_nodes` to the packs' folders. `args` are options of ComfyUI's main.py.
    `port` 0 takes a free one. The server's output goes to `log`, by default `base/comfyui.log`.
    """

    def __init__(
        self,
        comfyui: Path | str,
        base: Path | str,
        packs: Mapping[str, Path] | None = None,
        *,
        python: Path | str = sys.executable,
        port: int = 0,
        args: Sequence[str] = ("--cpu", "--disable-api-nodes"),
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.comfyui, self.base, self.packs = Path(comfyui).resolve(), Path(base).resolve(), dict(packs or {})
        self.python, self.port, self.args, self.env = str(python), port, list(args), dict(env or {})
        self.log = log or self.base / "comfyui.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, timeout: float = 300.0) -> None:
        """Starts the server and returns once it answers."""
        self.port = _free_port(self.port)
        custom_nodes = self.base / "custom_nodes"
        custom_nodes.mkdir(parents=True, exist_ok=True)
        for name, folder in self.packs.items():
            link_pack(folder, custom_nodes / name)
        self.log.parent.mkdir(parents=True, exist_ok=True)

        command = [self.python, str(self.comfyui / "main.py"), "--listen", HOST, "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--disable-auto-launch", *self.args]
        # The default database lies beside main.py, not in the base directory, in a folder that may not exist.
        command += ["--database-url", "sqlite:///:memory:"]
        # pytest may run with PYTHONSAFEPATH, which would keep main.py from finding ComfyUI's own modules.
        env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
        env |= {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **self.env}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_up(timeout)
        except BaseException:
            self.stop()
            raise

    def _wait_until_up(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            if not self.running:
                raise ServerError(f"ComfyUI ended while starting, with its log's last lines:\n{self.log_tail()}")
            # OSError: a refused connection, or no answer in time
            with suppress(OSError):
                self.get("/system_stats", timeout=30)
                return
            if time.monotonic() > deadline:
                raise ServerError(f"ComfyUI did not answer within {timeout:g} s:\n{self.log_tail()}")
            time.sleep(0.2)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self) -> int:
        """Waits until the server ends by itself, and returns its exit status."""
        if self.process is None:
            raise ServerError("the server was not started")
        return self.process.wait()

    def stop(self) -> None:
        """Ends the server; does nothing if it is not running."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-lines:])

    def get(self, path: str, timeout: float = 60.0) -> Any:
        """GETs `path`: parsed JSON, or the bytes of anything else."""
        return self._request("GET", path, None, timeout)

    def post(self, path: str, body: Any = None, timeout: float = 60.0) -> Any:
        """POSTs `body` as JSON to `path`: parsed JSON, or the bytes of anything else."""
        return self._request("POST", path, json.dumps({} if body is None else body).encode(), timeout)

    def _request(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, body, headers, method=method)
        try:
            with _OPENER.open(request, timeout=timeout) as reply:
                return _parsed(reply.read(), reply.headers.get_content_type())
        except urllib.error.HTTPError as error:
            reply = _parsed(error.read(), error.headers.get_content_type())
            text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
            raise HttpError(method, path, error.code, text) from None

    def view(self, image: Mapping[str, str]) -> bytes:
        """The file of one entry of a node's `images` output."""
        query = {key: image[key] for key in ("filename", "subfolder", "type") if key in image}
        data: bytes = self.get("/view?" + urllib.parse.urlencode(query))
        return data

    def interrupt(self) -> None:
        """Cancels the prompt that is running."""
        self.post("/interrupt")

    @contextmanager
    def messages(self, client: str) -> Iterator[Messages]:
        """The messages that the server sends to this client id. ConnectionError if no connection can be made."""
        # aiohttp needs an event loop. It gets one in a thread of its own, because Playwright may hold the caller's.
        url = f"{self.address}/ws?clientId={client}"
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(_websocket(url)) as websocket:
            yield Messages(portal, websocket)

    def run(
        self, prompt: Mapping[str, Any], on_progress: Callable[[Event], None] | None = None, timeout: float = 600.0
    ) -> dict[str, Any]:
        """Queues the API prompt, waits until it has run and returns its history entry (`outputs`, `status`).

        `on_progress` is called with each event of this prompt, in the caller's thread. Raises PromptRejected,
        ExecutionFailed or Interrupted; ServerError if the prompt has not ended after `timeout` seconds (it is then
        cancelled) or if the connection ends.
        """
        deadline = time.monotonic() + timeout
        client = uuid.uuid4().hex
        with self.messages(client) as messages:
            # Wait for the reply: until then the server may not know the client, and events of a prompt would be lost.
            flags = {"supports_preview_metadata": True}
            messages.send(json.dumps({"type": "feature_flags", "data": flags}))
            while _event(messages.receive(CONNECT_SECONDS)).kind != "feature_flags":
                pass
            try:
                reply = self.post("/prompt", {"prompt": prompt, "client_id": client})
            except HttpError as error:
                if error.status == 400 and isinstance(error.reply, dict):
                    raise PromptRejected(error.reply) from None
                raise
            try:
                failure = self._follow(messages, reply["prompt_id"], on_progress, deadline)
            except TimeoutError:
                self.interrupt()
                raise ServerError(f"the prompt did not end within {timeout:g} s and was cancelled") from None
            except ConnectionError as error:
                raise ServerError(f"the connection to the server ended ({error}):\n{self.log_tail()}") from None
        if failure:
            raise failure
        # The server drops outputs that fail validation and runs the valid ones; the caller has to learn of it.
        if reply.get("node_errors"):
            raise PromptRejected(reply)
        entry: dict[str, Any] = self.get(f"/history/{reply['prompt_id']}")[reply["prompt_id"]]
        return entry

    @staticmethod
    def _follow(
        messages: Messages, prompt_id: str, on_progress: Callable[[Event], None] | None, deadline: float
    ) -> ServerError | None:
        failure: ServerError | None = None
        while True:
            event = _event(messages.receive(deadline - time.monotonic()))
            if event.data.get("prompt_id") != prompt_id:
                continue
            if on_progress:
                on_progress(event)
            if event.kind == "execution_error":
                failure = ExecutionFailed(event.data)
            elif event.kind == "execution_interrupted":
                failure = Interrupted(f"the prompt was cancelled in node {event.data.get('node_id')}")
            # Sent after the history entry was written, unlike `execution_success` and the errors.
            elif event.kind == "executing" and event.data.get("node") is None:
                return failure


class Messages:
    """The messages of a websocket, one at a time, for synchronous code."""

    def __init__(self, portal: BlockingPortal, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._portal, self._websocket = portal, websocket

    def send(self, text: str) -> None:
        self._portal.call(self._websocket.send_str, text)

    def receive(self, timeout: float) -> str | bytes:
        """The next message: str for text, bytes for binary. TimeoutError if none comes within `timeout` seconds,
        ConnectionError if the connection has ended.
        """
        if timeout <= 0:  # aiohttp takes 0 for no limit
            raise TimeoutError("the time for messages is over")
        try:
            message = self._portal.call(self._websocket.receive, timeout)
        except TimeoutError:
            raise TimeoutError(f"the server sent no message within {timeout:g} s") from None
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise ConnectionError("the websocket was closed")
        data: str | bytes = message.data
        return data


@asynccontextmanager
async def _websocket(url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CONNECT_SECONDS)) as session:
        try:
            websocket = await session.ws_connect(url, max_msg_size=0)  # no limit: previews can be large
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"no websocket at {url}: {error or type(error).__name__}") from None
        async with websocket:
            yield websocket


def images(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The images of a history entry: those that are saved before previews, both in the order of the nodes' ids."""
    # ComfyUI keeps the nodes that are ready in a set, so the order in which they run varies.
    outputs = sorted(entry["outputs"].items(), key=lambda item: (len(item[0]), item[0]))
    found = [image for _, output in outputs for image in output.get("images", [])]
    return sorted(found, key=lambda image: image.get("type") != "output")


def _free_port(wanted: int) -> int:
    """`wanted`, or any free port if it is 0. ServerError if `wanted` is taken: another server would answer there."""
    with socket.socket() as probe:
        if os.name != "nt":  # on Windows the option shares a port in use; elsewhere it frees one of closed connections
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            raise ServerError(f"port {wanted} is taken by another program") from None
        port: int = probe.getsockname()[1]
        return port


def _parsed(body: bytes, content_type: str) -> Any:
    return json.loads(body) if content_type == "application/json" and body else body


def _sentence(error: Mapping[str, Any] | str) -> str:
    if isinstance(error, str):
        return error
    return ": ".join(text for text in (error.get("message"), error.get("details")) if text)


def _event(message: str | bytes) -> Event:
    if isinstance(message, str):
        parsed = json.loads(message)
        return Event(parsed["type"], parsed.get("data") or {})
    # Binary: a type, here 4 for a preview with metadata, the metadata's size, the metadata as JSON, the image.
    if len(message) >= 8:
        kind, size = struct.unpack(">II", message[:8])
        if kind == 4:
            return Event("preview", json.loads(message[8 : 8 + size]), message[8 + size :])
    return Event("binary", {})

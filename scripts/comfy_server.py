"""A real ComfyUI server as a child process, with the HTTP and websocket client that drives it.

    with ComfyServer(comfyui, base, {"regional-sampling": pack}) as server:
        entry = server.run(prompt, on_progress=print)
        png = server.view(images(entry)[0])

Standard library only: `dev.py` runs before anything is installed, and the tests use the same class.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

HOST = "127.0.0.1"

# A proxy from the environment must never see requests to this machine's own server.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(RuntimeError):
    """The server did not start, broke off, or did not answer in time."""


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
    """ComfyUI of the folder `comfyui`, with everything it reads and writes (models, output, user, ...) under `base`.

    `packs` maps names under `custom_nodes` to the folders linked there. `args` are options of ComfyUI's main.py.
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
        # Its default lies beside main.py, whatever the base directory, and in a folder that need not be there.
        command += ["--database-url", "sqlite:///:memory:"]
        # A safe path, wanted by pytest, would hide ComfyUI's own modules from its main.py.
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
            # OSError covers a refused connection as well as a read that timed out
            with contextlib.suppress(OSError):
                self.get("/system_stats", timeout=30)
                return
            if time.monotonic() > deadline:
                raise ServerError(f"ComfyUI did not answer within {timeout:g} s:\n{self.log_tail()}")
            time.sleep(0.2)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self) -> int:
        """Waits until the server ends by itself."""
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

    def run(
        self, prompt: Mapping[str, Any], on_progress: Callable[[Event], None] | None = None, timeout: float = 600.0
    ) -> dict[str, Any]:
        """Queues the API prompt, waits for its end and returns its history entry (`outputs`, `status`).

        `on_progress` gets each event of this prompt as it comes. Raises PromptRejected, ExecutionFailed or Interrupted.
        """
        deadline = time.monotonic() + timeout
        client = uuid.uuid4().hex
        with WebSocket(self.port, f"/ws?clientId={client}") as events:
            # The answer to this says that the server knows the client; a prompt queued earlier could outrun it.
            flags = {"supports_preview_metadata": True}
            events.send_text(json.dumps({"type": "feature_flags", "data": flags}))
            while _event(events.receive(30)).kind != "feature_flags":
                pass
            try:
                reply = self.post("/prompt", {"prompt": prompt, "client_id": client})
            except HttpError as error:
                if error.status == 400 and isinstance(error.reply, dict):
                    raise PromptRejected(error.reply) from None
                raise
            try:
                failure = self._follow(events, reply["prompt_id"], on_progress, deadline)
            except TimeoutError:
                self.interrupt()
                raise ServerError(f"the prompt did not end within {timeout:g} s and was cancelled") from None
            except ConnectionError as error:
                raise ServerError(f"the server broke off ({error}):\n{self.log_tail()}") from None
        if failure:
            raise failure
        # Outputs that failed the validation beside valid ones are left out silently; a caller would miss them.
        if reply.get("node_errors"):
            raise PromptRejected(reply)
        entry: dict[str, Any] = self.get(f"/history/{reply['prompt_id']}")[reply["prompt_id"]]
        return entry

    @staticmethod
    def _follow(
        events: WebSocket, prompt_id: str, on_progress: Callable[[Event], None] | None, deadline: float
    ) -> ServerError | None:
        failure: ServerError | None = None
        while True:
            event = _event(events.receive(deadline - time.monotonic()))
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


class WebSocket:
    """The client's end of RFC 6455: gives whole messages, answers pings, joins fragments."""

    CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

    def __init__(self, port: int, path: str, timeout: float = 30.0) -> None:
        self._socket = socket.create_connection((HOST, port), timeout)
        self._reader: BinaryIO = self._socket.makefile("rb")
        try:
            self._handshake(f"{HOST}:{port}", path)
        except BaseException:
            self.close()
            raise

    def _handshake(self, host: str, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        status = self._reader.readline().decode("latin-1").strip()
        headers = {}
        while line := self._reader.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        # The GUID is the RFC's: a server that answers with it did read the request as a websocket's.
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        accept = base64.b64encode(digest).decode()
        if status.split(" ")[1:2] != ["101"] or headers.get("sec-websocket-accept") != accept:
            raise ConnectionError(f"no websocket at {path}: {status}")

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._send(self.CLOSE, struct.pack(">H", 1000))
        self._reader.close()
        self._socket.close()

    def send_text(self, text: str) -> None:
        self._send(self.TEXT, text.encode())

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = os.urandom(4)  # the RFC has every frame of a client masked
        self._socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def receive(self, timeout: float) -> str | bytes:
        """The next message: str for text, bytes for binary. TimeoutError if none comes, ConnectionError at the end."""
        if timeout <= 0:
            raise TimeoutError
        self._socket.settimeout(timeout)
        opcode, parts = self.BINARY, []
        while True:
            final, frame, payload = self._frame()
            if frame == self.PING:  # control frames may stand between the fragments of a message
                self._send(self.PONG, payload)
            elif frame == self.CLOSE:
                raise ConnectionError("the websocket was closed")
            elif frame in (self.CONTINUATION, self.TEXT, self.BINARY):
                opcode = frame or opcode
                parts.append(payload)
                if final:
                    message = b"".join(parts)
                    return message.decode() if opcode == self.TEXT else message

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._read(8))
        return bool(first & 0x80), first & 0x0F, self._read(size)

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise ConnectionError("the connection ended")
        return data


def images(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The images of a history entry, by the ids of their nodes: all that are saved, then those that are only shown."""
    # Which of several nodes runs first is chance: ComfyUI keeps those that are ready in a set.
    outputs = sorted(entry["outputs"].items(), key=lambda item: (len(item[0]), item[0]))
    found = [image for _, output in outputs for image in output.get("images", [])]
    return sorted(found, key=lambda image: image.get("type") != "output")


def link_folder(target: Path, link: Path) -> None:
    """Makes `link` lead to the folder `target`; one that leads elsewhere is replaced, a real folder is not."""
    if os.path.lexists(link):
        if os.path.realpath(link) == os.path.realpath(target):
            return
        link.unlink()
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        # Windows lets only administrators and developer mode make symlinks; a junction needs no right.
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(target)], check=True, stdout=subprocess.DEVNULL)


def link_pack(pack: Path, link: Path) -> None:
    """Makes `link` a folder with what the node pack `pack` holds, hidden entries aside.

    Not one link to all of it: the server's own folder may lie in a hidden one there (.host), and whatever walks the
    tree would go round in circles.
    """
    if link.is_symlink():
        link.unlink()
    link.mkdir(exist_ok=True)
    for entry in pack.iterdir():
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            link_folder(entry, link / entry.name)
        else:
            shutil.copy2(entry, link / entry.name)


def _free_port(wanted: int) -> int:
    """`wanted`, or any free port if it is 0. Were it taken, the one who has it would answer in our server's place."""
    with socket.socket() as probe:
        if os.name != "nt":  # there the option means to share the port, elsewhere to pass over connections that ended
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

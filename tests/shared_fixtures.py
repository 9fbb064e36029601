"""The fixtures of all tests. Importing this module boots ComfyUI: tests import the pack as `pack`."""

import host
import pytest
import torch

_pack = host.boot()

import comfy.model_management  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from dev import PACKS  # noqa: E402
from server_use import SEEDS, Client, assert_regions_painted, regional_sampler, thread_names  # noqa: E402

DEVICE = [] if torch.cuda.is_available() else ["--cpu"]


@pytest.fixture(scope="session")
def pack():
    return _pack


@pytest.fixture(autouse=True)
def as_the_server_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", autouse=True)
def no_model_stays_loaded():
    """Unloads a module's models: with one whose patcher is gone the host collects garbage at each of its loadings."""
    yield
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="session")
def new_server():
    """`new_server(base)`: a ComfyUI server to be opened by `with`, for tests that need one of their own."""

    def new_server(base, packs=PACKS, args=(), **env):
        # Two torch processes with many threads on few cores slow each other down a hundredfold.
        env = {"OMP_NUM_THREADS": "1", **env}
        return ComfyServer(host.comfyui(), base, packs, args=[*DEVICE, "--disable-api-nodes", *args], env=env)

    return new_server


@pytest.fixture(scope="session")
def server(new_server, tmp_path_factory):
    """The server of all tests, with live previews. `log_at_start` is its log up to its first answer."""
    # Python hides most warnings unless told not to.
    options = {"args": ["--preview-method", "auto"], "PYTHONWARNINGS": "default"}
    with new_server(tmp_path_factory.mktemp("comfyui"), **options) as running:
        running.log_at_start = running.log.read_text("utf-8", errors="replace")
        yield running


@pytest.fixture
def client(server):
    return Client(server)


def _kind(item):
    """Of a test with `server_goes_on`: its function, and its `fault` where it has one."""
    return item.location[0], item.originalname, item.callspec.params.get("fault") if hasattr(item, "callspec") else None


@pytest.fixture
def server_goes_on(request, client):
    """After the test no thread of the pack is left and nothing is queued.

    After the last test of its kind (see `_kind`) the next pictures are right, too, of both engines.
    """
    yield
    assert not any(name.startswith("regional") for name in thread_names(client.server))
    assert client.server.get("/queue") == {"queue_running": [], "queue_pending": []}
    items = request.session.items
    if not any(_kind(item) == _kind(request.node) for item in items[items.index(request.node) + 1 :]):
        for engine in ("stepwise", "lockstep"):
            assert_regions_painted(client.run(regional_sampler(seed=next(SEEDS), engine=engine)).pictures[0])

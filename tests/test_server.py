"""The pack on a real ComfyUI server, over HTTP and its websocket: what a browser sees, and what a person reads."""

import pytest

pytestmark = pytest.mark.server

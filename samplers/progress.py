"""The progress of one node run: one bar, one previewer and the text on the node, shared by all sampling calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.utils
import latent_preview
import torch
from server import PromptServer

# (step, denoised, x, total_steps), as the host's samplers call it.
Callback = Callable[[int, torch.Tensor, torch.Tensor, int], None]


def show_text(text: str, node_id: str | None) -> None:
    """Show a text on a node; nothing outside of a server."""
    if node_id is not None:
        PromptServer.instance.send_progress_text(text, node_id)


class Progress:
    """Made for one run of a node and thrown away with it.

    `total_steps` is the number of sampler steps that all calls of the run take together. `node_id` is given explicitly,
    because worker threads do not know the current node.
    """

    def __init__(self, total_steps: int, node_id: str | None = None) -> None:
        self._bar = comfy.utils.ProgressBar(max(total_steps, 1), node_id=node_id)
        self._node_id = node_id
        self._done = 0
        self._previewer: Any = None
        self._has_previewer = False
        self._previewed: torch.Tensor | None = None

    def say(self, text: str) -> None:
        """Show on the node what is being done."""
        show_text(text, self._node_id)

    @contextmanager
    def steps(self, count: int) -> Iterator[None]:
        """One sampling call. It takes `count` steps of the bar, whether the sampler reports them or not."""
        yield
        self.skip(count)

    def skip(self, count: int) -> None:
        """Move the bar by `count` steps."""
        self._done += count
        self._bar.update_absolute(self._done)

    def callback(self, model: Any, count: int, mask: torch.Tensor | None = None) -> Callback:
        """A sampler callback that moves the bar within the next `count` steps and previews the whole latent.

        `mask` (B, 1, h, w) at latent size says which part of the denoised this call samples; outside of it the preview
        keeps what earlier calls showed.
        """
        if not self._has_previewer:
            self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
            self._has_previewer = True

        def report(step: int, denoised: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
            self._bar.update_absolute(self._done + min(step + 1, count), preview=self._preview(denoised, mask))

        return report

    def _preview(self, denoised: torch.Tensor, mask: torch.Tensor | None) -> Any:
        if self._previewer is None:
            return None
        if mask is not None and self._previewed is not None:
            mask = mask.to(denoised.device)
            denoised = mask * denoised + (1.0 - mask) * self._previewed
        self._previewed = denoised
        return self._previewer.decode_latent_to_preview_image("JPEG", denoised)

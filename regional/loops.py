"""Unlike samplers side by side: each in a loop of its own, all looking at one canvas.

A loop is a thread, because a sampler is a function that calls its model: to stop it there is to stop its thread. Only
one thread ever moves; the caller's thread runs the models. Whoever stands at the largest sigma is served first.
"""

import contextlib
import contextvars
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import torch

from .composed import ComposedGuider, coefficients, sum_of
from .groups import Options


@dataclass(frozen=True, eq=False)
class Loop:
    """`members` of a ComposedGuider that share a `sampler` (SAMPLER) and `sigmas` (steps + 1,); `name` for errors."""

    name: str
    members: frozenset[int]
    sampler: Any
    sigmas: torch.Tensor


@dataclass(frozen=True, eq=False)
class Request:
    """A sampler asks for the denoised at x (B, C, ..., h, w) and `timestep` (B,), whose sigma is `sigma`."""

    x: torch.Tensor
    timestep: torch.Tensor
    sigma: float
    options: Options


class Stopped(BaseException):
    """Ends a loop whose run is over. No Exception, so that a sampler does not catch it by accident."""


class SideBySide(comfy.samplers.Sampler):
    """A SAMPLER that runs several loops in step, over one ComposedGuider."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops

    def sample(
        self,
        model_wrap: ComposedGuider,
        sigmas: torch.Tensor,
        extra_args: Options,
        callback: Any,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        """Run all loops to their ends; returns their results, blended by weight. Nothing of it outlives the call."""
        sampling = model_wrap.inner_model.model_sampling
        threads = [
            _LoopThread(loop, model_wrap, _Arguments(extra_args, noise, latent_image, denoise_mask), number)
            for number, loop in enumerate(self._loops)
        ]
        # One bar, and previews of the whole canvas: the base's loop reports, the others follow it.
        threads[0].callback = callback
        try:
            for thread in threads:
                thread.move()
            while waiting := [thread for thread in threads if thread.request is not None]:
                top = max(thread.standing.sigma for thread in waiting)
                served = [thread for thread in waiting if math.isclose(thread.standing.sigma, top, rel_tol=1e-6)]
                for thread, denoised in zip(served, _serve(model_wrap, sampling, threads, served), strict=True):
                    thread.move(denoised)
        finally:
            for thread in threads:
                thread.stop()
        weights = model_wrap.phase_at(self._loops[0].sigmas[-1]).weights
        parts = ((_weight(weights, thread), thread.result) for thread in threads)
        return sum_of(weight * result for weight, result in parts if weight is not None)


@dataclass(frozen=True, eq=False)
class _Arguments:
    extra_args: Options
    noise: torch.Tensor
    latent_image: torch.Tensor
    denoise_mask: torch.Tensor | None


class _LoopThread:
    """A sampler in a thread that stands still whenever it is not being moved."""

    def __init__(self, loop: Loop, guider: ComposedGuider, arguments: _Arguments, number: int) -> None:
        self.loop = loop
        self.callback: Any = None
        self.request: Request | None = None
        self.result: torch.Tensor
        self._guider, self._arguments = guider, arguments
        self._last: Request | None = None
        self._answer: torch.Tensor | None = None
        self._error: BaseException | None = None
        self._stopping = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        # Torch keeps inference mode and the current device for each thread; the host keeps the current node.
        context, inference = contextvars.copy_context(), torch.is_inference_mode_enabled()
        target = lambda: context.run(self._run, inference)  # noqa: E731
        self._thread = threading.Thread(target=target, name=f"regional-{number}", daemon=True)

    @property
    def standing(self) -> Request:
        """Where the loop stands: what it asks now, or asked last."""
        assert self._last is not None
        return self._last

    def move(self, denoised: torch.Tensor | None = None) -> None:
        """Let the loop run with its answer until it asks again or is done; raises what it raised."""
        self._answer, self.request = denoised, None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        self._stands.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread, wherever it stands."""
        if self._thread.ident is None:
            return
        self._stopping = True
        self._go.release()
        self._thread.join()

    def at(self, sigma: float, sampling: Any) -> torch.Tensor:
        """The loop's state moved to another sigma: its own noise and last denoised, mixed anew."""
        given = self._arguments
        level = torch.tensor(sigma, device=given.noise.device, dtype=given.noise.dtype)
        signal, spread = coefficients(sampling, level)
        denoised = given.latent_image if self._answer is None else self._answer
        if given.denoise_mask is not None:
            # What the sampler's x is made of: outside of the mask it is the picture that is kept.
            denoised = denoised * given.denoise_mask + given.latent_image * (1.0 - given.denoise_mask)
        noise = given.noise
        if self._last is not None and self._last.sigma > 0.0:
            own_signal, own_spread = coefficients(sampling, torch.full_like(level, self._last.sigma))
            noise = (self._last.x - own_signal * denoised) / own_spread
        return signal * denoised + spread * noise

    def _run(self, inference: bool) -> None:
        device = self._arguments.noise.device
        try:
            with (
                torch.inference_mode(inference),
                torch.set_grad_enabled(False) if not inference else contextlib.nullcontext(),
                comfy.model_management.cuda_device_context(device),
            ):
                given = self._arguments
                # A copy for each: samplers write into their options.
                options = comfy.model_patcher.create_model_options_clone(given.extra_args["model_options"])
                self.result = self.loop.sampler.sample(
                    _LoopModel(self._guider, self),
                    self.loop.sigmas.clone().to(device),
                    {**given.extra_args, "model_options": options},
                    self.callback,
                    given.noise.clone(),
                    given.latent_image,
                    given.denoise_mask,
                    True,
                )
        except Stopped:
            pass
        except BaseException as error:
            self._error = _named(error, self.loop.name)
        self._stands.release()

    def ask(self, x: torch.Tensor, timestep: torch.Tensor, model_options: Options) -> torch.Tensor:
        """Called in the loop's thread: stand at this request until it is answered."""
        if self._stopping:
            raise Stopped
        sigma = float(timestep.max())
        if x.shape != self._arguments.noise.shape or math.isnan(sigma):
            raise ValueError(
                f"it asks at sigma {sigma} for a latent of shape {tuple(x.shape)}; beside other samplers it must stay "
                f"at {tuple(self._arguments.noise.shape)} and at a sigma that is a number."
            )
        self.request = self._last = Request(x, timestep, sigma, model_options)
        self._stands.release()
        self._go.acquire()
        if self._stopping:
            raise Stopped
        assert self._answer is not None
        # Samplers may work on it in place.
        return self._answer.clone()


class _LoopModel:
    """What a loop's sampler calls its model: the guider in everything but the call, which stands still in between."""

    def __init__(self, guider: ComposedGuider, thread: _LoopThread) -> None:
        self._guider, self._thread = guider, thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guider, name)

    def __call__(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> Any:
        return self._thread.ask(x, timestep, model_options or {})


def _serve(
    guider: ComposedGuider, sampling: Any, threads: Sequence[_LoopThread], served: Sequence[_LoopThread]
) -> list[torch.Tensor]:
    """Answer the loops that stand at one sigma, at the canvas on which all others are moved to it."""
    request = served[0].standing
    weights = guider.phase_at(request.sigma).weights
    states = (
        (_weight(weights, thread), thread.standing.x if thread in served else thread.at(request.sigma, sampling))
        for thread in threads
    )
    canvas = sum_of(weight * state for weight, state in states if weight is not None)
    asked = frozenset().union(*(thread.loop.members for thread in served))
    requests = [thread.standing.options for thread in served]
    answers: list[torch.Tensor] = []

    def ask(x: torch.Tensor, timestep: torch.Tensor, model_options: Options, seed: int | None = None) -> torch.Tensor:
        answers[:] = guider.compose(x, timestep, asked, requests)
        return answers[0]

    wrappers = comfy.patcher_extension.get_all_wrappers(
        comfy.patcher_extension.WrappersMP.PREDICT_NOISE, guider.model_options, is_model_options=True
    )
    executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(ask, guider, wrappers)
    answer = executor.execute(canvas, request.timestep, request.options, None)
    return [answer] * len(served) if wrappers else answers


def _weight(weights: Mapping[int, torch.Tensor], thread: _LoopThread) -> torch.Tensor | None:
    own = [weights[index] for index in thread.loop.members if index in weights]
    return sum_of(own) if own else None


def _named(error: BaseException, name: str) -> BaseException:
    """The error itself; its message says whose sampler failed, unless the host looks at it (interrupt, memory)."""
    if isinstance(error, Exception) and not comfy.model_management.is_oom(error):
        interrupt = isinstance(error, comfy.model_management.InterruptProcessingException)
        if not interrupt and len(error.args) <= 1:
            message = str(error.args[0]) if error.args else type(error).__name__
            error.args = (f"the sampler of {name} failed: {message}",)
    return error

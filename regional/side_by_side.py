"""Unlike samplers side by side: each in a loop of its own, all on one canvas.

A loop is a thread, because a sampler is a function that calls its model: it can only be held there by holding its
thread. Only one thread runs at any time, and the caller's thread evaluates the models. The loops whose requests have
the largest sigma are answered first.
"""

import contextlib
import contextvars
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch

from .guider import RegionalRun
from .host import ModelOptions, through_predict_noise_wrappers


@dataclass(frozen=True, eq=False)
class Loop:
    """`members` of a run that share a `sampler` (SAMPLER) and `sigmas` (steps + 1,); `name` is for errors."""

    name: str
    members: frozenset[int]
    sampler: Any
    sigmas: torch.Tensor


@dataclass(frozen=True, eq=False)
class Request:
    """A sampler's call of its model: the denoised at x (B, C, ..., h, w) and `timestep` (B,), the largest of which is
    `sigma`.
    """

    x: torch.Tensor
    timestep: torch.Tensor
    sigma: float
    options: ModelOptions


class Stopped(BaseException):
    """Ends a loop whose run is over. It is not an Exception, so that samplers do not catch it by accident."""


class SideBySide(comfy.samplers.Sampler):
    """A SAMPLER that runs several loops in step, on one RegionalRun."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops

    def sample(
        self,
        model_wrap: RegionalRun,
        sigmas: torch.Tensor,
        extra_args: ModelOptions,
        callback: Any,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        """Run all loops to their ends; returns their results, blended by weight. All threads end with the call."""
        sampling = model_wrap.inner_model.model_sampling
        threads = [
            _LoopThread(loop, model_wrap, _Arguments(extra_args, noise, latent_image, denoise_mask), number)
            for number, loop in enumerate(self._loops)
        ]
        # The base's loop alone reports: there is one bar, and its previews show the whole canvas.
        threads[0].callback = callback
        try:
            for thread in threads:
                thread.move()
            while waiting := [thread for thread in threads if thread.request is not None]:
                served = [waiting[place] for place in _at_largest([thread.last.sigma for thread in waiting])]
                for thread, denoised in zip(served, _serve(model_wrap, sampling, threads, served), strict=True):
                    thread.move(denoised)
        finally:
            for thread in threads:
                thread.stop()
        maps = model_wrap.weights_at(self._loops[0].sigmas[-1]).maps
        parts = ((_weight(maps, thread), thread.result) for thread in threads)
        return _sum(weight * result for weight, result in parts if weight is not None)


def evaluations(loops: Sequence[Loop]) -> Iterator[tuple[float, frozenset[int]]]:
    """(sigma, members) of each evaluation of these loops, if their samplers ask once at each step, as euler does."""
    waiting = [loop.sigmas[:-1].tolist() for loop in loops]
    while standing := [number for number, sigmas in enumerate(waiting) if sigmas]:
        served = [standing[place] for place in _at_largest([waiting[number][0] for number in standing])]
        sigma = max(waiting[number][0] for number in served)
        yield sigma, frozenset().union(*(loops[number].members for number in served))
        for number in served:
            waiting[number].pop(0)


def _at_largest(sigmas: Sequence[float]) -> list[int]:
    """The places of the largest sigma: those are answered first, and together."""
    largest = max(sigmas)
    return [place for place, sigma in enumerate(sigmas) if math.isclose(sigma, largest, rel_tol=1e-6)]


@dataclass(frozen=True, eq=False)
class _Arguments:
    extra_args: ModelOptions
    noise: torch.Tensor
    latent_image: torch.Tensor
    denoise_mask: torch.Tensor | None


class _LoopThread:
    """A sampler in a thread, which waits whenever `move` is not running it."""

    def __init__(self, loop: Loop, run: RegionalRun, arguments: _Arguments, number: int) -> None:
        self.loop = loop
        self.callback: Any = None
        self.request: Request | None = None
        self.result: torch.Tensor
        self._run, self._arguments = run, arguments
        self._last: Request | None = None
        self._answer: torch.Tensor | None = None
        self._error: BaseException | None = None
        self._stopping = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        # Inference mode and the current device are torch's for each thread; the current node is a context variable.
        context, inference = contextvars.copy_context(), torch.is_inference_mode_enabled()
        target = lambda: context.run(self._sample, inference)  # noqa: E731
        self._thread = threading.Thread(target=target, name=f"regional-{number}", daemon=True)

    @property
    def last(self) -> Request:
        """The request that the loop makes now, or made last."""
        assert self._last is not None
        return self._last

    def move(self, denoised: torch.Tensor | None = None) -> None:
        """Give the loop its answer and run it until its next request or its end; raises what it raised."""
        self._answer, self.request = denoised, None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        self._stands.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread, whatever it waits for."""
        if self._thread.ident is None:
            return
        self._stopping = True
        self._go.release()
        self._thread.join()

    def at(self, sigma: float, sampling: Any) -> torch.Tensor:
        """The loop's x moved to another sigma: its last denoised and its own noise, mixed for that sigma."""
        given = self._arguments
        level = torch.tensor(sigma, device=given.noise.device, dtype=given.noise.dtype)
        signal, spread = _coefficients(sampling, level)
        denoised = given.latent_image if self._answer is None else self._answer
        if given.denoise_mask is not None:
            # As in the sampler's x, which outside of the mask is made of the picture that is kept.
            denoised = denoised * given.denoise_mask + given.latent_image * (1.0 - given.denoise_mask)
        noise = given.noise
        if self._last is not None and self._last.sigma > 0.0:
            own_signal, own_spread = _coefficients(sampling, torch.full_like(level, self._last.sigma))
            noise = (self._last.x - own_signal * denoised) / own_spread
        return signal * denoised + spread * noise

    def _sample(self, inference: bool) -> None:
        device = self._arguments.noise.device
        try:
            with (
                torch.inference_mode(inference),
                torch.set_grad_enabled(False) if not inference else contextlib.nullcontext(),
                comfy.model_management.cuda_device_context(device),
            ):
                given = self._arguments
                # A copy for each loop, since samplers write into their options.
                options = comfy.model_patcher.create_model_options_clone(given.extra_args["model_options"])
                self.result = self.loop.sampler.sample(
                    _LoopModel(self._run, self),
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

    def ask(self, x: torch.Tensor, timestep: torch.Tensor, model_options: ModelOptions) -> torch.Tensor:
        """Called in the loop's thread: make a request and wait until it is answered."""
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
        # Samplers may change it in place.
        return self._answer.clone()


class _LoopModel:
    """The model of a loop's sampler: its calls become requests of the loop; all else is that of the run's guider."""

    def __init__(self, run: RegionalRun, thread: _LoopThread) -> None:
        self._run, self._thread = run, thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def __call__(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: ModelOptions | None = None,
        seed: int | None = None,
    ) -> Any:
        return self._thread.ask(x, timestep, model_options or {})


def _serve(
    run: RegionalRun, sampling: Any, threads: Sequence[_LoopThread], served: Sequence[_LoopThread]
) -> list[torch.Tensor]:
    """The answers of the loops whose requests are at one sigma, on the canvas with all other loops moved to it."""
    request = served[0].last
    maps = run.weights_at(request.sigma).maps
    states = (
        (_weight(maps, thread), thread.last.x if thread in served else thread.at(request.sigma, sampling))
        for thread in threads
    )
    canvas = _sum(weight * state for weight, state in states if weight is not None)
    asked = frozenset().union(*(thread.loop.members for thread in served))
    requests = [thread.last.options for thread in served]
    answers: list[torch.Tensor] = []

    def compose(x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions, seed: int | None) -> torch.Tensor:
        answers[:] = run.compose(x, timestep, asked, requests)
        return answers[0]

    answer, wrapped = through_predict_noise_wrappers(run, compose, canvas, request.timestep, request.options)
    return [answer] * len(served) if wrapped else answers


def _coefficients(model_sampling: Any, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(a, b) of x = a x0 + b n at a sigma (0-d), from the model's own noise_scaling: EPS and v 1, s; flow 1 - s, s."""
    zero, one = torch.zeros_like(sigma), torch.ones_like(sigma)
    signal = model_sampling.noise_scaling(sigma, zero.clone(), one.clone())
    noise = model_sampling.noise_scaling(sigma, one.clone(), zero.clone())
    return signal, noise


def _weight(maps: Mapping[int, torch.Tensor], thread: _LoopThread) -> torch.Tensor | None:
    """The sum of the weight maps of the loop's members; None if they have none."""
    own = [maps[member] for member in thread.loop.members if member in maps]
    return _sum(own) if own else None


def _sum(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of at least one tensor. Copies."""
    total, *rest = tensors
    for tensor in rest:
        total = total + tensor
    return total


def _named(error: BaseException, name: str) -> BaseException:
    """The error itself. Its message gets the name of the loop, unless the host looks for it (interrupt, memory)."""
    if isinstance(error, Exception) and not comfy.model_management.is_oom(error):
        interrupt = isinstance(error, comfy.model_management.InterruptProcessingException)
        if not interrupt and len(error.args) <= 1:
            message = str(error.args[0]) if error.args else type(error).__name__
            error.args = (f"the sampler of {name} failed: {message}",)
    return error

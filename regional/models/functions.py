"""A member's own copies of the functions and options of a model that several members, or a plain run too, share.

Some functions remember what they were asked last: in variables of their closure (a running mean, say), in attributes,
or in the options that the host passes them. Members that share a model would mix what they remember.
"""

import dis
import functools
from collections.abc import Callable, Collection, Iterator
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch

from ..host import CALC_COND_BATCH, CFG, POST_CFG, PRE_CFG, WRAPPER, ModelOptions
from ..host_functions import ANY_ROWS, FUNCTION_KEYS, is_hosts

WITH_FUNCTIONS = (PRE_CFG, POST_CFG, CFG, CALC_COND_BATCH, WRAPPER)
_NUMBERS = (type(None), bool, int, float, complex, str, bytes, torch.device, torch.dtype, torch.Size)
_CONTAINERS = (list, tuple, set, dict)


class Copies:
    """Copies of functions with all that they may remember; functions that share something share its copy.

    What is neither a function, a container nor an object of plain values is not copied, such as models. `shared` holds
    those objects with attributes that are not copied, so that all share what they may remember.
    """

    def __init__(self) -> None:
        self.shared: list[Any] = []
        # By id; the originals are kept, so that no id is given again.
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, _NUMBERS) or getattr(value, ANY_ROWS, False) is True:
            return value
        if id(value) not in self._made:
            # A function may be reached again from its own closure.
            self._made[id(value)] = (value, value)
            self._copy(value)
        return self._made[id(value)][1]

    def _set(self, value: Any, copied: Any) -> None:
        self._made[id(value)] = (value, copied)

    def _copy(self, value: Any) -> None:
        if type(value) is dict:
            self._set(value, {key: self.of(one) for key, one in value.items()})
        elif type(value) in _CONTAINERS:
            self._set(value, type(value)(self.of(one) for one in value))
        elif isinstance(value, torch.Tensor) and type(value) is torch.Tensor:
            self._set(value, value.clone())
        elif isinstance(value, functools.partial):
            keywords = {key: self.of(one) for key, one in value.keywords.items()}
            self._set(value, functools.partial(self.of(value.func), *map(self.of, value.args), **keywords))
        elif isinstance(value, MethodType):
            self._set(value, MethodType(value.__func__, self.of(value.__self__)))
        elif isinstance(value, FunctionType) and value.__closure__:
            self._copy_function(value)
        elif _is_plain(value):
            copied = object.__new__(type(value))
            self._set(value, copied)
            copied.__dict__.update({name: self.of(one) for name, one in vars(value).items()})
        elif not isinstance(value, FunctionType) and (_may_hold(value) or hasattr(type(value), "__slots__")):
            self.shared.append(value)

    def _copy_function(self, function: FunctionType) -> None:
        cells, new = [], []
        for cell in function.__closure__ or ():
            if id(cell) not in self._made:
                self._set(cell, CellType())
                new.append(cell)
            cells.append(self._made[id(cell)][1])
        copied = FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
        )
        copied.__kwdefaults__, copied.__qualname__ = function.__kwdefaults__, function.__qualname__
        copied.__module__ = function.__module__
        copied.__dict__.update(vars(function))
        self._set(function, copied)
        for cell in new:
            if _is_filled(cell):
                self._made[id(cell)][1].cell_contents = self.of(cell.cell_contents)


class OwnOptions:
    """Model options of one member for a run: one dict, in which functions may keep what they like.

    `copies`: how its functions are copied from the model's; None to use those.
    """

    def __init__(self, copies: Callable[[Any], Any] | None, keys: Collection[str]) -> None:
        self._copies, self._keys = copies or (lambda value: value), {*keys, *FUNCTION_KEYS}
        self._options: ModelOptions = {"transformer_options": {}}
        self._given: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self._wrapper: Any = None
        # The last (cond, uncond) that the member's guidance was made of.
        self.predictions: tuple[torch.Tensor, torch.Tensor] | None = None

    def updated(self, given: ModelOptions, wrap: Callable[[Any], Any] = lambda wrapper: wrapper) -> ModelOptions:
        """The member's options, with what has changed in `given` since the last time.

        `wrap` makes the model function wrapper from the model's own, or from None.
        """
        self._options[WRAPPER] = self._wrapper
        transformer = self._options["transformer_options"]
        last, last_inner = self._given
        inner = given.get("transformer_options", {})
        outer = {key: value for key, value in given.items() if key != "transformer_options"}
        _refresh(self._options, last, outer, self._copies, WITH_FUNCTIONS)
        _refresh(transformer, last_inner, inner, self._copies, self._keys)
        self._given = (outer, dict(inner))
        self._wrapper = self._options.get(WRAPPER)
        wrapper = wrap(self._wrapper)
        if wrapper is None:
            self._options.pop(WRAPPER, None)
        else:
            self._options[WRAPPER] = wrapper
        return self._options


def _refresh(
    own: dict[str, Any],
    last: dict[str, Any],
    given: dict[str, Any],
    copies: Callable[[Any], Any],
    keys: Collection[str],
) -> None:
    for key in last.keys() - given.keys():
        own.pop(key, None)
    for key, value in given.items():
        if key not in last or last[key] is not value:
            own[key] = copies(value) if key in keys else value


def pictures_in(functions: Collection[Any]) -> Iterator[torch.Tensor]:
    """The tensors of two or more axes that functions hold in closures or attributes, outside of networks.

    What the host's own functions store themselves as they run is not among them.
    """
    stored = {id(cell) for one in functions if is_hosts(one) for cell in _stored(one)}
    seen: list[Any] = []
    todo: list[tuple[Any, int]] = [(function, 0) for function in functions]
    while todo:
        value, depth = todo.pop()
        if depth > _DEPTH or isinstance(value, _NUMBERS) or any(value is one for one in seen):
            continue
        seen.append(value)
        if isinstance(value, torch.Tensor):
            if value.ndim >= 2 and not isinstance(value, torch.nn.Parameter):
                yield value
            continue
        todo.extend((one, depth + 1) for one in _held(value, stored))


_DEPTH = 5


def _held(value: Any, stored: Collection[int]) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, _CONTAINERS):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield value.__self__
    elif isinstance(value, FunctionType):
        cells = (cell for cell in value.__closure__ or () if id(cell) not in stored and _is_filled(cell))
        yield from (cell.cell_contents for cell in cells)
    elif _may_hold(value):
        yield from vars(value).values()


def _may_hold(value: Any) -> bool:
    """Whether to look into an object's attributes: not into networks, patchers, classes and modules."""
    closed = isinstance(value, torch.nn.Module | type | ModuleType | BuiltinFunctionType)
    return not closed and hasattr(value, "__dict__") and not hasattr(value, "model_options")


def _stored(function: Any) -> list[CellType]:
    """The variables of its closure that a function sets."""
    if not isinstance(function, FunctionType):
        return []
    names = {one.argval for one in dis.get_instructions(function) if one.opname == "STORE_DEREF"}
    pairs = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return [cell for name, cell in pairs if name in names]


def _is_filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a copy of an object is one of its attributes: an object of a plain class that holds plain values."""
    if not _may_hold(value) or isinstance(value, FunctionType | MethodType):
        return False
    own = {name for cls in type(value).__mro__[:-1] for name in vars(cls)}
    if not own.isdisjoint(_SPECIAL):
        return False
    return all(_is_plain_value(one, depth + 1) for one in vars(value).values())


_SPECIAL = {"__new__", "__slots__", "__copy__", "__deepcopy__"}
_SPECIAL |= {"__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__getattr__"}


def _is_plain_value(value: Any, depth: int) -> bool:
    if isinstance(value, _NUMBERS) or type(value) is torch.Tensor:
        return True
    if depth > _DEPTH:
        return False
    if type(value) is dict:
        return all(_is_plain_value(one, depth + 1) for one in value.values())
    if type(value) in _CONTAINERS:
        return all(_is_plain_value(one, depth + 1) for one in value)
    return _is_plain(value, depth)

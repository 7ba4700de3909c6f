"""Tell WSGI applications from ASGI applications by how they can be called.

Nothing is called to find out. What an object says of itself counts before what it wraps: a decorator may well
make one interface of the other.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from inspect import Parameter, Signature
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType
from typing import Any, Literal, NamedTuple

# What is looked through to find a function: far more wrappers than anybody stacks, and an end for a circle.
_DEPTH_MAX = 100

_WSGI_PASSES = "(environ, start_response)"
_ASGI_PASSES = "(scope, receive, send)"

_ASGI_2 = (
    "is an ASGI 2 application, which takes the scope alone, and ASGI 3 is spoken here:"
    " asgiref.compatibility.guarantee_single_callable makes one of it"
)

_signature: Callable[[Any], Signature] = partial(inspect.signature, follow_wrapped=False)
if sys.version_info >= (3, 14):
    from annotationlib import Format

    # An annotation may name what is imported for type checkers alone.
    _signature = partial(_signature, annotation_format=Format.FORWARDREF)


_Interface = Literal["wsgi", "asgi"]


class Verdict(NamedTuple):
    """What a callable is; neither is given where it does not tell, as with ``*args`` alone."""

    interface: _Interface | None = None
    # Why it can be no application, as the rest of a sentence about it.
    fault: str | None = None


_UNTOLD = Verdict()


def tell(application: object) -> Verdict:
    """Tell by which interface a callable wants to be called."""
    if inspect.isasyncgenfunction(_function(application)):
        return Verdict(fault="is an async generator function, which is neither WSGI nor ASGI")
    if is_coroutine_function(application):
        return _of_coroutine_function(application)
    callee = _callee(application)
    if getattr(callee, "__module__", None) == "wsgiref.validate":
        # What the PEP's own validator gives takes any arguments, to complain of all but two.
        return Verdict("wsgi")
    verdict = _of_class(callee) if isinstance(callee, type) else _of_parameters(callee)
    return _of_wrapped(application) if verdict == _UNTOLD else verdict


def is_coroutine_function(function: object) -> bool:
    """Tell whether what a call gives is to be awaited, by the word of the object itself."""
    candidates = (function, _function(function))
    if any(inspect.iscoroutinefunction(candidate) for candidate in candidates):
        return True
    # asgiref's mark, before `inspect.markcoroutinefunction` came with Python 3.12.
    mark = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    return mark is not None and any(getattr(each, "_is_coroutine", None) is mark for each in candidates)


def _of_coroutine_function(application: object) -> Verdict:
    parameters = _Parameters.of(_callee(application))
    if parameters is None or parameters.fit(3):
        return Verdict("asgi")
    return Verdict(fault=f"is a coroutine function that takes {parameters}; ASGI passes {_ASGI_PASSES}")


def _of_class(cls: type) -> Verdict:
    """A call makes an instance, which is the response (WSGI) or is awaited (ASGI)."""
    verdict = _of_parameters(cls)
    if verdict.interface == "wsgi" and not (hasattr(cls, "__iter__") or hasattr(cls, "__getitem__")):
        return Verdict(fault="is a class whose instances cannot be iterated; is an instance of it meant?")
    if verdict.interface == "asgi" and not hasattr(cls, "__await__"):
        return Verdict(fault="is a class whose instances cannot be awaited; is an instance of it meant?")
    return verdict


def _of_parameters(callee: Any) -> Verdict:
    """By the number of arguments that must be passed, and by their names where more may be."""
    parameters = _Parameters.of(callee)
    if parameters is None:
        return _UNTOLD
    wsgi, asgi = parameters.fit(2), parameters.fit(3)
    if asgi and (parameters.least == 3 or parameters.named_for == "asgi"):
        return Verdict("asgi")
    if wsgi and (parameters.least == 2 or parameters.named_for == "wsgi"):
        return Verdict("wsgi")
    if wsgi or asgi:
        return _UNTOLD
    if parameters.fit(1) and parameters.names[:1] == ["scope"]:
        return Verdict(fault=_ASGI_2)
    if parameters.fit(0):
        return Verdict(
            fault="can be called without arguments, like a function that makes the application (--factory)"
        )
    return Verdict(fault=f"takes {parameters}; WSGI passes {_WSGI_PASSES} and ASGI {_ASGI_PASSES}")


def _of_wrapped(wrapper: Any) -> Verdict:
    """By names alone: how many arguments the wrapper passes on, and which, is not known."""
    for _ in range(_DEPTH_MAX):
        inner = _wrapped(_callee(wrapper))
        wrapper = _wrapped(wrapper) if inner is None else inner
        if wrapper is None:
            break
        parameters = _Parameters.of(_callee(wrapper))
        if parameters is not None and parameters.named_for is not None:
            return Verdict(parameters.named_for)
    return _UNTOLD


class _Parameters:
    """What can be passed by position."""

    def __init__(self, signature: Signature) -> None:
        parameters = signature.parameters.values()
        by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.names = [p.name for p in by_position]
        self.least = sum(p.default is Parameter.empty for p in by_position)
        self._is_open = any(p.kind is p.VAR_POSITIONAL for p in parameters)

    @classmethod
    def of(cls, callee: Any) -> _Parameters | None:
        try:
            return cls(_signature(callee))
        except (TypeError, ValueError):  # Written in C, as a rule.
            return None

    def __str__(self) -> str:
        return f"({', '.join(self.names)})"

    def fit(self, count: int) -> bool:
        return self.least <= count and (self._is_open or count <= len(self.names))

    @property
    def named_for(self) -> _Interface | None:
        if self.names[:1] == ["scope"] or self.names[1:3] == ["receive", "send"]:
            return "asgi"
        if self.names[:1] in (["environ"], ["env"]) or self.names[1:2] == ["start_response"]:
            return "wsgi"
        return None


def _function(application: object) -> Any:
    """Find the function or class that a call ends up in, without the arguments that are passed on the way."""
    callee = _callee(application)
    for _ in range(_DEPTH_MAX):
        if not isinstance(callee, partial):
            break
        callee = _callee(callee.func)
    return callee


def _callee(application: Any) -> Any:
    """Find what is called in place of an instance: its type's ``__call__``, bound to it."""
    for _ in range(_DEPTH_MAX):
        # By isinstance and not by type: proxies of functions pass for them.
        if isinstance(application, (FunctionType, MethodType, BuiltinFunctionType, partial, type)):
            break
        call = _call_of(application)
        # A method written in C says nothing; the instance may at least say what it wraps.
        if call is None or isinstance(call, MethodWrapperType):
            break
        application = call
    return application


def _call_of(instance: object) -> Any:
    """Look up ``__call__`` as a call does: on the type, since an instance's own attribute is not called."""
    for base in type(instance).__mro__:
        if "__call__" in vars(base):
            call = vars(base)["__call__"]
            bind = getattr(type(call), "__get__", None)
            return call if bind is None else bind(call, instance, type(instance))
    return None


def _wrapped(wrapper: Any) -> Any:
    """Find what :func:`functools.wraps` has noted as wrapped, bound like the wrapper; None for no note."""
    if isinstance(wrapper, MethodType):
        inner = _wrapped(wrapper.__func__)
        return None if inner is None else MethodType(inner, wrapper.__self__)
    if isinstance(wrapper, partial):
        inner = _wrapped(wrapper.func)
        return None if inner is None else partial(inner, *wrapper.args, **wrapper.keywords)
    return getattr(wrapper, "__wrapped__", None)

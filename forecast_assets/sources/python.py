"""A function of the user's own as a source: called with `as_of`, it returns a frame."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.errors import SourceError, SourceUnavailable
from forecast_assets.source_settings import PythonSource
from forecast_assets.sources.asked import Asked
from forecast_assets.sources.trying import persistently

LIBRARIES = ("site-packages", "dist-packages", os.path.dirname(os.__file__))


def read_python(source: PythonSource, asked: Asked) -> pd.DataFrame:
    """Import the function, from the path or beside forecast.toml, and return what it returns.

    A ConnectionError or TimeoutError of it, built-in or a library's own, is tried again. Raises
    SourceError where it cannot be imported or called so, raises anything else, or returns no frame.
    """
    with _importable(asked.settings.root):
        function = _function(source.callable)
        returned = persistently(lambda: _called(function, source, asked), source, asked)
    if hasattr(returned, "__arrow_c_stream__") and not isinstance(returned, pd.DataFrame):
        import pyarrow as pa  # noqa: PLC0415 - only polars' and Arrow's own tables need it

        returned = pa.table(returned).to_pandas()
    if not isinstance(returned, pd.DataFrame):
        raise SourceError(
            f"{source.callable} returns a {type(returned).__name__}, which is no frame. Nothing was"
            f" published. Let it return a pandas DataFrame, or a table of polars or pyarrow."
        )
    frame = returned.copy()
    if frame.empty:
        raise SourceError(
            f"{source.callable} returns a frame without rows. A week without data cannot be"
            f" forecast, so nothing was published. Let it raise TimeoutError where there may be"
            f" rows later, and it is called again."
        )
    return frame


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Look for modules in the folder too, after all other places."""
    place = str(folder)
    if place in sys.path:
        yield
        return
    sys.path.append(place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except Exception as error:
        raise SourceError(
            f"`source.callable` = {name} cannot be imported: {type(error).__name__}: {error}"
            f"{_where(error)}. Nothing was read. Correct it; the module lies beside forecast.toml,"
            f" or in a package that is installed here."
        ) from error
    if not callable(function):
        wrong = f"is a {type(function).__name__} and no function"
    elif inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        wrong = "is an async function, which nobody awaits here"
    elif not _takes_as_of(function):
        wrong = "cannot be called as `f(as_of=…)`"
    else:
        return function  # type: ignore[no-any-return]
    raise SourceError(
        f"`source.callable` = {name} {wrong}. Nothing was read. Name a plain function:"
        f" `def {attribute}(as_of): …` that returns a pandas DataFrame."
    )


def _takes_as_of(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(as_of=None)
    except TypeError:
        return False
    except ValueError:  # one without a signature, such as a class written in C
        return True
    return True


def _called(function: Callable[..., Any], source: PythonSource, asked: Asked) -> Any:
    try:
        return function(as_of=asked.as_of)
    except Exception as error:
        said = f"{type(error).__name__}: {error}".rstrip(": .") + _where(error)
        if _may_pass(error):
            raise SourceUnavailable(
                f"{source.callable} did not get its rows: {said}. Another try may pass."
            ) from error
        raise SourceError(
            f"{source.callable} failed: {said}. Nothing was published, and earlier versions stand."
            f" Mend it; what may pass it has to raise as ConnectionError or TimeoutError, and then"
            f" it is called again."
        ) from error


def _may_pass(error: Exception) -> bool:
    """Whether it is a lost connection or a time-out: Python's, or one of httpx or requests."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"ConnectionError", "TimeoutError", "Timeout", "TransportError"})


def _where(error: BaseException) -> str:
    """The last place in the user's own code that an error came through, or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        one
        for one in frames
        if one.filename != __file__
        and not one.filename.startswith("<")
        and not any(library in one.filename for library in LIBRARIES)
    ]
    return f", at {own[-1].filename}:{own[-1].lineno}, `{own[-1].line}`" if own else ""

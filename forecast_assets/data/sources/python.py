"""Read a function of the user as a source: called with `as_of`, it returns a frame."""

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.config.source_settings import PythonSource
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.retry import is_transient, with_retries
from forecast_assets.errors import SourceError, SourceUnavailable

STDLIB = sysconfig.get_path("stdlib")


def read_python(source: PythonSource, request: FetchRequest) -> pd.DataFrame:
    """Import the function, from the path or beside forecast.toml, and return its frame.

    Index levels with a name become columns. Transient errors and SourceUnavailable are retried.
    Raises SourceError if the function cannot be imported or called, raises anything else, or does
    not return a frame.
    """
    with _importable(request.settings.root):
        function = _import_function(source.callable)
        table = with_retries(lambda: _call(function, source, request), source, request)
    if hasattr(table, "to_pandas"):  # a table of polars or pyarrow
        table = table.to_pandas()
    if not isinstance(table, pd.DataFrame):
        raise SourceError(
            f"{source.callable} returned a {type(table).__name__} instead of a table. Nothing was"
            f" published. Return a pandas DataFrame, or a table of polars or pyarrow."
        )
    levels = [name for name in table.index.names if name and name not in table.columns]
    return table.reset_index(level=levels)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Search modules in the folder too, after all other places."""
    is_new = str(folder) not in sys.path
    if is_new:
        sys.path.append(str(folder))
    try:
        yield
    finally:
        if is_new:
            sys.path.remove(str(folder))


def _import_function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except Exception as error:
        raise SourceError(
            f"`source.callable` = {name} cannot be imported: {type(error).__name__}: {error}"
            f"{_location(error)}. Nothing was read. Correct the name; the module has to be beside"
            f" forecast.toml, or in a package that is installed here."
        ) from error
    if not callable(function):
        problem = f"is a {type(function).__name__}, not a function"
    elif inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        problem = "is an async function, which is not supported"
    elif not _accepts_as_of(function):
        problem = "cannot be called as `f(as_of=…)`"
    else:
        return function  # type: ignore[no-any-return]
    raise SourceError(
        f"`source.callable` = {name} {problem}. Nothing was read. Name a plain function:"
        f" `def {attribute}(as_of): …` that returns a pandas DataFrame."
    )


def _accepts_as_of(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(as_of=None)
    except TypeError:
        return False
    except ValueError:
        pass  # no signature, such as a class written in C
    return True


def _call(function: Callable[..., Any], source: PythonSource, request: FetchRequest) -> Any:
    try:
        return function(as_of=request.as_of)
    except SourceError:  # raised on purpose with its own message
        raise
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}".rstrip(": .") + _location(error)
        if is_transient(error):
            raise SourceUnavailable(
                f"{source.callable} did not get its rows: {text}. A retry may succeed."
            ) from error
        raise SourceError(
            f"{source.callable} failed: {text}. Nothing was published; earlier versions are"
            f" unchanged. Correct the function. To have an error retried, raise it as"
            f" ConnectionError or TimeoutError."
        ) from error


def _location(error: BaseException) -> str:
    """Return the last line of a traceback in the user's code, or else in a library."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith(("<", STDLIB))
    ]
    if not frames:
        return ""
    own_frames = [frame for frame in frames if "site-packages" not in frame.filename]
    last = (own_frames or frames)[-1]
    return f", at {last.filename}:{last.lineno}, `{last.line}`"

"""A function of the user's own as a source: called with `as_of`, it returns a frame."""

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

STANDARD = sysconfig.get_path("stdlib")


def read_python(source: PythonSource, asked: FetchRequest) -> pd.DataFrame:
    """Import the function, from the path or beside forecast.toml, and return what it returns.

    An index that has a name becomes a column. A lost connection or a time-out, Python's own or a
    library's, is tried again, and so is SourceUnavailable. Raises SourceError where the function
    cannot be imported or called so, raises anything else, or returns no frame.
    """
    with _importable(asked.settings.root):
        function = _function(source.callable)
        returned = with_retries(lambda: _called(function, source, asked), source, asked)
    if hasattr(returned, "to_pandas"):  # a table of polars or pyarrow
        returned = returned.to_pandas()
    if not isinstance(returned, pd.DataFrame):
        raise SourceError(
            f"{source.callable} returns a {type(returned).__name__}, which is no frame. Nothing was"
            f" published. Let it return a pandas DataFrame, or a table of polars or pyarrow."
        )
    named = [name for name in returned.index.names if name and name not in returned.columns]
    return returned.reset_index(level=named)


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


def _called(function: Callable[..., Any], source: PythonSource, asked: FetchRequest) -> Any:
    try:
        return function(as_of=asked.as_of)
    except SourceError:  # it knows this package's errors, and means what it says
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}".rstrip(": .") + _where(error)
        if is_transient(error):
            raise SourceUnavailable(
                f"{source.callable} did not get its rows: {said}. Another try may pass."
            ) from error
        raise SourceError(
            f"{source.callable} failed: {said}. Nothing was published, and earlier versions stand."
            f" Mend it; what may pass it has to raise as ConnectionError or TimeoutError, and then"
            f" it is called again."
        ) from error


def _where(error: BaseException) -> str:
    """The last place in the user's own code that an error came through, if it came through any."""
    frames = [
        one
        for one in traceback.extract_tb(error.__traceback__)
        if one.filename != __file__ and not one.filename.startswith(("<", STANDARD))
    ]
    if not frames:
        return ""
    own = [one for one in frames if "site-packages" not in one.filename]
    last = (own or frames)[-1]
    return f", at {last.filename}:{last.lineno}, `{last.line}`"

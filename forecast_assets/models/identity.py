"""What a model's code is made of: its source, and the libraries behind it with their versions."""

import ast
import functools
import hashlib
import inspect
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
NAMING = ("__init__.py", "identity.py", "model.py", "registry.py")  # which forecast nothing


@functools.cache
def version(library: str) -> str:
    """The installed version of a distribution."""
    return metadata.version(library)


@functools.cache
def digest_of_source(module: str) -> str:
    """Digest the code that a model's module can be made of (32 hex digits).

    For a model of the package: the folder of models. For any other: the Python files of its
    top-level package, or its own file where it is in none or the package is installed as a
    distribution, whose version counts.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in _files(module):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@functools.cache
def imported(module: str) -> Sequence[str]:
    """The distributions that a user's own module is of or imports; of the package's own, none."""
    if _top(module) == PACKAGE:
        return ()
    tops = {_top(module)}
    for file in _files(module):
        with suppress(SyntaxError):  # not a file that a model can be made of
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Import):
                    tops |= {_top(one.name) for one in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    tops.add(_top(node.module or ""))
    return sorted({name for top in tops for name in _distributions().get(top, ())})


def _files(module: str) -> Sequence[Path]:
    top = import_module(_top(module))
    # Of a package without __init__.py a folder comes twice where two entries of sys.path are one.
    folders = {Path(folder) for folder in getattr(top, "__path__", ())}
    if top.__name__ == PACKAGE:
        models = sorted(Path(__file__).parent.glob("*.py"))
        return [file for file in models if file.name not in NAMING]
    if not folders or any("site-packages" in folder.parts for folder in folders):
        return [Path(inspect.getfile(sys.modules[module]))]
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def _top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache  # looking through all installed packages takes 50 ms
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())

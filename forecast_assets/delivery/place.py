"""Read, replace and delete one file on a disk or on any fsspec file system, whole or not at all."""

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forecast_assets.config.redaction import redact, redact_url, url_secrets
from forecast_assets.errors import DeliveryError, DeliveryUnavailable, ForecastAssetsError

# File systems that show a new object only once it is complete, and cannot rename one.
OBJECT_STORES = frozenset(
    ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "cos", "obs", "memory")
)


class Place:
    """The address of one file, for the delivery that messages name."""

    def __init__(self, address: str, *, prefix: str) -> None:
        self.address, self._prefix = address, prefix

    def __str__(self) -> str:
        return redact_url(self.address) if "://" in self.address else self.address

    def read(self) -> bytes | None:
        """Return the file's content, None if there is no file. Raises DeliveryError."""
        with self._translated():
            system, path = self._resolve()
            try:
                return bytes(system.cat_file(path))
            except FileNotFoundError:
                return None

    def replace(self, content: bytes) -> None:
        """Write the file, or leave it as it was. Raises DeliveryError."""
        self._refuse_open_workbook()
        with self._translated():
            system, path = self._resolve()
            if OBJECT_STORES.intersection(_protocols(system)):
                system.pipe_file(path, content)
                return
            system.makedirs(posixpath.dirname(path) or ".", exist_ok=True)
            folder, name = posixpath.split(path)
            unfinished = posixpath.join(folder, f".{name}.{os.getpid()}.unfinished")
            try:
                system.pipe_file(unfinished, content)
                if "file" in _protocols(system):
                    _sync(Path(unfinished))
                    Path(unfinished).replace(path)
                else:
                    system.mv(unfinished, path)
            except BaseException:
                with suppress(OSError):
                    system.rm_file(unfinished)
                raise

    def delete(self) -> None:
        """Delete the file. Raises DeliveryError."""
        self._refuse_open_workbook()
        with self._translated():
            system, path = self._resolve()
            system.rm_file(path)

    def _resolve(self) -> tuple[Any, str]:
        import fsspec

        system, path = fsspec.core.url_to_fs(self.address)
        system.invalidate_cache()  # another process may have changed the folder
        return system, path

    def _refuse_open_workbook(self) -> None:
        """Raise DeliveryUnavailable where a program has the workbook open: it may save over it."""
        if "://" in self.address or not self.address.endswith(".xlsx"):
            return
        path = Path(self.address)
        locks = [path.with_name(f"~${path.name}"), path.with_name(f".~lock.{path.name}#")]
        if found := [lock.name for lock in locks if lock.exists()]:
            raise DeliveryUnavailable(
                f"{self._prefix} was not written to {self}: the file is open in another program,"
                f" which would save its own version later (it locks it by {found[0]}). The file is"
                f" as it was. Close it there, or delete the lock if no program has it open."
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of a file system into ours, without the secrets of the address."""
        try:
            yield
        except ForecastAssetsError:
            raise
        except Exception as error:  # noqa: BLE001 - every file system has its own errors
            reason = self._to_delivery_error(error)
        else:
            return
        # The file system's error may hold a password.
        raise reason from None

    def _to_delivery_error(self, error: Exception) -> DeliveryError:
        secrets = url_secrets(self.address)
        text = " ".join(redact(str(error), secrets).split()).rstrip(".") or type(error).__name__
        if isinstance(error, ImportError | ValueError):
            return DeliveryError(
                f"{self._prefix} cannot reach {self}: {text}. Nothing was written. Correct the"
                f" path, or install the package that its protocol needs."
            )
        remedy = "Check that its folder exists, has space, and that this user may write to it"
        if isinstance(error, PermissionError):
            remedy = "Close it in other programs, or grant this user the right to write it"
        return DeliveryUnavailable(
            f"{self._prefix} was not written to {self}: {text}. The file is as it was. {remedy}."
        )


def _protocols(system: Any) -> set[str]:
    protocol = system.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def _sync(path: Path) -> None:
    """Wait until a file is on the disk, so that a power cut leaves the old one or the new one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())

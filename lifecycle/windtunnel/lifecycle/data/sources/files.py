"""Files of a source: finding them, opening them whatever they are compressed with, and noticing that they change while being read."""

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import fsspec

from windtunnel.lifecycle.contract.errors import ConfigurationError, SourceFormatError, UnavailableError, WindtunnelError

__all__ = ["border", "content_digest", "find", "is_local", "opened", "state_of", "unchanged"]

_BLOCK = 1 << 20
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure", "adl": "azure"}
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def is_local(path: str) -> bool:
    """Whether a path needs no filesystem driver."""
    return "://" not in path or path.startswith("file://")


def find(pattern: str) -> list[str]:
    """The files that a path or glob names, sorted; none if there are none.

    Raises:
        UnavailableError: the place is out of reach.
        ConfigurationError: no driver is installed for such URLs.
    """
    with reaching(pattern):
        if is_local(pattern):
            path = Path(pattern.removeprefix("file://"))
            if path.is_file():
                return [str(path)]
            return sorted(str(found) for found in _glob(path) if found.is_file())
        filesystem, path_text = fsspec.core.url_to_fs(pattern)
        filesystem.invalidate_cache()  # what was listed before may have changed
        if any(mark in path_text for mark in "*?["):
            return sorted(filesystem.unstrip_protocol(found) for found in filesystem.glob(path_text))
        return [pattern] if filesystem.exists(path_text) else []


def _glob(path: Path) -> list[Path]:
    import glob

    if path.is_dir():
        # Spark and Hive leave files such as _SUCCESS and .crc beside the data.
        return [found for found in path.rglob("*") if not found.name.startswith((".", "_"))]
    return [Path(found) for found in glob.glob(str(path), recursive=True)] if glob.has_magic(str(path)) else []  # noqa: PTH207


def state_of(path: str) -> str:
    """A file's size and time of change (local) or size and tag (remote), as text."""
    with reaching(path):
        if is_local(path):
            stat = Path(path.removeprefix("file://")).stat()
            return f"{stat.st_size}:{stat.st_mtime_ns}"
        filesystem, inner = fsspec.core.url_to_fs(path)
        filesystem.invalidate_cache()
        info = filesystem.info(inner)
        tag = next(
            (str(info[name]) for name in ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "created") if name in info), ""
        )
        return f"{info.get('size')}:{tag}"


def content_digest(path: str) -> str:
    """The SHA-256 of a file's bytes as they lie there."""
    with reaching(path):
        if is_local(path):
            with Path(path.removeprefix("file://")).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        with fsspec.open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()


@contextlib.contextmanager
def unchanged(path: str, state: str) -> Iterator[None]:
    """Whatever is read inside must come from the file as it was when it was planned.

    Raises:
        UnavailableError: it was changed or taken away meanwhile; a retry reads the new one.
    """
    yield
    # Afterwards and not before: only so is a change half-way seen as well.
    if state and state_of(path) != state:
        raise UnavailableError(f"{path}: was changed while it was read", hint="run again: the new content is read then", path=path)


@contextlib.contextmanager
def opened(path: str, foreign: Sequence[str] = ()) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """A file's content: one (name, stream) pair, or one for each file inside a zip.

    Args:
        path: a path or URL.
        foreign: first bytes of formats that are welcome although they are no text, such as ``ARROW1``.

    Raises:
        SourceFormatError: its compression is damaged, or a zip holds no file.
        UnavailableError: it is out of reach.
    """
    with reaching(path):
        file = _open(path)
    with file:
        with reaching(path):
            head = file.read(6)
            file.seek(0)
        yield _streams(path, file, head, foreign)


def _open(path: str) -> IO[bytes]:
    if is_local(path):
        return Path(path.removeprefix("file://")).open("rb")
    stream: IO[bytes] = fsspec.open(path, "rb").open()
    return stream


_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"ORC\n\x06": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x04\x95": "a pickle",
}


def _streams(path: str, file: IO[bytes], head: bytes, foreign: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    for magic, what in _FOREIGN.items():
        if head.startswith(magic) and magic.decode("latin-1") not in foreign:
            raise SourceFormatError(f"{path}: is {what}, not text", hint="set source.format to what it is, or save it as CSV", path=path)
    with damage_named(path):
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _members(path, file)
            return
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as stream:
                yield path, io.BufferedReader(stream, _BLOCK)
        elif head.startswith(b"BZh"):
            with bz2.BZ2File(file) as stream:
                yield path, stream
        elif head.startswith(b"\xfd7zXZ\x00"):
            with lzma.LZMAFile(file) as stream:
                yield path, stream
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            import pyarrow as pa

            with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as stream:
                yield path, stream
        else:
            yield path, file


def _members(path: str, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        # macOS puts files of its own beside those that it packs.
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith(("__MACOSX/", "."))]
        if not members:
            raise SourceFormatError(f"{path}: the zip holds no file", path=path)
        # Workbooks and documents of today are zips, too.
        if {"[Content_Types].xml", "mimetype"} & {member.filename for member in members}:
            raise SourceFormatError(f"{path}: is a workbook or a document, not text", hint="save it as CSV", path=path)
        for member in members:
            if member.flag_bits & 1:
                raise SourceFormatError(f"{path}: {member.filename} in the zip is encrypted", hint="unpack it first", path=path)
            with archive.open(member) as stream:
                yield f"{path}!{member.filename}", stream


@contextlib.contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Damaged compression as our error."""
    try:
        yield
    except _DAMAGE as error:
        raise SourceFormatError(
            f"{path}: the compressed file is truncated or damaged: {error}", hint="fetch or write the file again", path=path
        ) from error


@contextlib.contextmanager
def border(path: str) -> Iterator[None]:
    """What libraries raise over data that nobody has thought of, as one message of ours.

    Raises:
        SourceFormatError: the data cannot be read.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, ArithmeticError, LookupError, OSError, RecursionError, ValueError) as error:
        raise SourceFormatError(
            f"{path}: cannot be read: {type(error).__name__}: {str(error)[:300]}",
            hint="is the file damaged? write or fetch it again",
            path=path,
        ) from error


@contextlib.contextmanager
def reaching(path: str) -> Iterator[None]:
    """What operating systems and drivers raise as our errors."""
    try:
        yield
    except (WindtunnelError, MemoryError):
        raise
    except Exception as error:
        ours = _as_ours(error, path)
        if ours is None:
            raise
        raise ours from error


def _as_ours(error: Exception, path: str) -> WindtunnelError | None:
    """What an error in reading a path says to a person; None for those that are not about the path."""
    again = "was it moved or changed while the run was on? run again"
    for kind, ours, text, hint in _REASONS:
        if isinstance(error, kind):
            return ours(f"{path}: {text}", hint=hint, path=path)
    # fsspec says of an unknown protocol by a ValueError, of a missing driver by an ImportError.
    if isinstance(error, ImportError | ValueError):
        return _no_driver(error, path) if "://" in path else None
    if isinstance(error, OSError):
        reached = "pyarrow" in type(error).__module__  # the file's content is at fault
        return None if reached else UnavailableError(f"{path}: cannot be read: {error}", hint=again, path=path)
    if is_local(path):
        return None
    # Each store's client has errors of its own: no credentials, no such host, a server that answers nonsense.
    return UnavailableError(f"{path}: {type(error).__name__}: {error}", hint="are the store's address and credentials right?", path=path)


_REASONS: tuple[tuple[type[OSError], type[WindtunnelError], str, str], ...] = (
    (FileNotFoundError, UnavailableError, "no such file", "was it moved while the run was on? run again"),
    (PermissionError, ConfigurationError, "not allowed to read it", "give the worker's user read access"),
    (IsADirectoryError, ConfigurationError, "is a folder", "name its files, a glob such as folder/*.csv will do"),
)


def _no_driver(error: Exception, path: str) -> ConfigurationError:
    extra = _EXTRAS.get(path.partition("://")[0])
    hint = f"pip install 'windtunnel[{extra}]'" if extra else "install the fsspec driver for such URLs; s3:, gs: and az: have extras"
    return ConfigurationError(f"{path}: {error}", hint=hint, path=path)

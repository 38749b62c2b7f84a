"""Where a request begins and ends on a connection: its head, its limits, chunked bodies and content codings.

Heads are read by llhttp (`httptools`), which is strict about what smuggles requests: lengths that are there twice or beside chunks, spaces
before colons, folded lines. The frame around them is ours, because httptools bounds no head and drops the body of a request that offers an
upgrade, as Java's own client does with its first POST (an upgrade is ignored, and the body read, as RFC 9110 has it).
"""

import dataclasses
import zlib
from collections.abc import Sequence
from http import HTTPStatus

import httptools

from windtunnel.serving.front.http.messages import Headers, Refused

__all__ = ["MOST_HEAD", "Chunks", "Head", "check_size", "decoded", "head_of"]

MOST_HEAD = 65536
"""Bytes of a request's line and headers at most."""

_MOST_HEADERS = 256
_ONCE = (b"host", b"authorization", b"content-type", b"content-encoding", b"inference-header-content-length")
_MOST_CHUNK_LINE = 1024
_MOST_DIGITS = 8  # 4 GB
_MOST_TRAILERS = 8192
# each member copies all that follows it: thousands of tiny ones in a body would be quadratic work
_MOST_MEMBERS = 100
_SIZE_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_CODINGS = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
_ACCEPTED = ((b"accept-encoding", b"gzip, deflate, identity"),)


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """The line and the headers of a request.

    Attributes:
        method: ``POST`` and so on.
        url: the target as it came, with its query.
        headers: by lower-case name.
        length: bytes of the body; -1 where it comes in chunks.
        stays: whether the client keeps the connection for a next request.
        persists: whether that has to be said in the reply, as HTTP/1.0 wants it.
        expects: whether the client waits for ``100 Continue`` before it sends its body.
    """

    method: str
    url: bytes
    headers: Headers
    length: int
    stays: bool
    persists: bool
    expects: bool


class _Reader:
    """What httptools calls while it reads one head."""

    def __init__(self) -> None:
        self.url = b""
        self.pairs: list[tuple[bytes, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.stays = False

    def on_url(self, url: bytes) -> None:
        # llhttp may hand a long target on in pieces
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.stays = self.parser.should_keep_alive()  # of a request without a body the parser has forgotten it afterwards


def check_size(start: bytes) -> None:
    """Refuse a head that has not ended where it must have.

    Raises:
        Refused: 414 if already the line is too long, 431 if the headers are.
    """
    if len(start) < MOST_HEAD:
        return
    if start.find(b"\r\n", 0, MOST_HEAD) < 0:
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, f"the request's line has more than {MOST_HEAD} bytes")
    raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request's headers have more than {MOST_HEAD} bytes")


def head_of(raw: bytes) -> Head:
    """A head, with the empty line that ends it.

    Raises:
        Refused: it is not HTTP/1.0 or 1.1, or asks for what is not there.
    """
    reader = _Reader()
    parser = reader.parser
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # offered, not asked for: the request is answered as it is
    except httptools.HttpParserError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the request is not HTTP/1.1: {error}") from error
    # the bytes are bounded already; many tiny headers still cost an object each
    if len(reader.pairs) > _MOST_HEADERS:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request has more than {_MOST_HEADERS} headers")
    version, headers = parser.get_http_version(), dict(reader.pairs)
    _check_once(reader.pairs, version)
    if version not in {"1.0", "1.1"}:
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{version} is not spoken here; HTTP/1.1 is")
    stays = reader.stays
    expects = _expects(headers, version)
    return Head(parser.get_method().decode(), reader.url, headers, _length(headers), stays, stays and version == "1.0", expects)


def _check_once(pairs: Sequence[tuple[bytes, bytes]], version: str) -> None:
    """Refuse headers that are there twice and mean one thing: whoever stands before this server may have looked at the other one."""
    names = [name for name, _ in pairs]
    for name in _ONCE:
        if names.count(name) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the header {name.decode().title()} is there twice")
    if version == "1.1" and b"host" not in names:
        raise Refused(HTTPStatus.BAD_REQUEST, "the request is not HTTP/1.1: it has no header Host")


def _length(headers: Headers) -> int:
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return int(headers.get(b"content-length", b"0"))  # llhttp saw to it that these are digits
    if coding.strip().lower() != b"chunked":
        # RFC 9112, 6.1: a transfer coding that is not understood is answered by 501
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, "of transfer codings only chunked is known; compress with Content-Encoding")
    return -1


def _expects(headers: Headers, version: str) -> bool:
    value = headers.get(b"expect")
    # RFC 9110, 10.1.1: an expectation in an HTTP/1.0 request is ignored
    if value is None or version == "1.0":
        return False
    if value.lower() != b"100-continue":
        # RFC 9110, 10.1.1: another expectation may be answered by 417
        raise Refused(HTTPStatus.EXPECTATION_FAILED, "of expectations only 100-continue is known")
    return True


class Chunks:
    r"""Reads a body that comes in chunks, strictly: sizes of hexadecimal digits, every end of line CRLF.

    Example:
        >>> chunks = Chunks()
        >>> chunks.feed(b"3\r\nabc\r\n2;x=y\r\nde"), chunks.ended
        (b'abcde', False)
        >>> chunks.feed(b"\r\n0\r\n\r\nGET /"), chunks.ended, chunks.rest
        (b'', True, b'GET /')
    """

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._place = 0  # how much of the rest was read
        self._missing = 0  # bytes of the chunk that is being read
        self._inside = False
        self._trailers = -1  # bytes of them; -1 before the last chunk

    def feed(self, data: bytes) -> bytes:
        """What some more bytes hold of the body; what follows the body is in ``rest``.

        Raises:
            Refused: the chunks are damaged.
        """
        found: list[bytes] = []
        self.rest, self._place = self.rest + data, 0
        while not self.ended and (self._take(found) if self._missing else self._line()):
            pass
        self.rest = self.rest[self._place :]
        return b"".join(found)

    def _take(self, found: list[bytes]) -> bool:
        """Take what is there of a chunk; False where more bytes are needed."""
        part = self.rest[self._place : self._place + self._missing]
        found.append(part)
        self._place += len(part)
        self._missing -= len(part)
        return bool(part)

    def _line(self) -> bool:
        """Read one line between chunks; False where more bytes are needed."""
        end = self.rest.find(b"\r\n", self._place)
        if (len(self.rest) if end < 0 else end) - self._place > _MOST_CHUNK_LINE:
            raise _damaged(f"a line has more than {_MOST_CHUNK_LINE} bytes")
        if end < 0:
            return False
        line, self._place = self.rest[self._place : end], end + 2
        if self._inside:  # the line that ends a chunk
            if line:
                raise _damaged("a chunk is longer than its size")
            self._inside = False
        elif self._trailers >= 0:
            self._trailer(line)
        else:
            self._begin(line)
        return True

    def _begin(self, line: bytes) -> None:
        # checked by hand: int() takes signs, underscores and spaces, which another server in front reads otherwise
        digits = line.partition(b";")[0].rstrip(b" \t")
        if not 0 < len(digits) <= _MOST_DIGITS or not _SIZE_DIGITS.issuperset(digits):
            raise _damaged(f"{line[:20]!r} is no size")
        self._missing = int(digits, 16)
        self._inside = self._missing > 0
        if not self._missing:
            self._trailers = 0

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > _MOST_TRAILERS:
            raise _damaged("the trailers are too long")
        self.ended = not line


def _damaged(text: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, f"the body's chunks are damaged: {text}")


def decoded(body: bytes, coding: bytes, most: int) -> bytes:
    """A body without its content coding.

    Args:
        body: as it came.
        coding: the header Content-Encoding.
        most: bytes at most: what is small may be large when it is unpacked.

    Raises:
        Refused: 415 for an unknown coding, 413 for too many bytes, 400 for damaged ones.

    Example:
        >>> decoded(zlib.compress(b"abc"), b"deflate", 3)
        b'abc'
    """
    name = coding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    if name not in _CODINGS:
        text = f"Content-Encoding {coding[:40].decode('latin-1')!r} is not known here; gzip and deflate are"
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text, _ACCEPTED)
    try:
        return _unpacked(body, _CODINGS[name], most)
    except zlib.error as error:
        if name == b"deflate":  # some clients send it without zlib's frame
            return _raw_deflate(body, most)
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not {name.decode()}: {error}") from error


def _raw_deflate(body: bytes, most: int) -> bytes:
    try:
        return _unpacked(body, -zlib.MAX_WBITS, most)
    except zlib.error as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not deflate: {error}") from error


def _unpacked(body: bytes, bits: int, most: int) -> bytes:
    parts, size = [], 0
    for _ in range(_MOST_MEMBERS):  # gzip may be several members, one after the other
        unpacker = zlib.decompressobj(bits)
        # one byte more than is left: enough to know that there is more, without unpacking a bomb
        parts.append(unpacker.decompress(body, most - size + 1))
        size += len(parts[-1])
        if size > most:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {most} bytes when it is unpacked")
        # zlib does not mind a stream that ends early: half a body would be read as a whole one
        if not unpacker.eof:
            raise Refused(HTTPStatus.BAD_REQUEST, "the compressed body ends too early")
        body = unpacker.unused_data
        if not body:
            return b"".join(parts)
    raise Refused(HTTPStatus.BAD_REQUEST, f"the compressed body has more than {_MOST_MEMBERS} members")

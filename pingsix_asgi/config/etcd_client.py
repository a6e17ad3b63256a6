"""A client for etcd's v3 JSON gateway: one call per method, over any of several endpoints.

Keys and values travel in base64 and 64-bit integers as strings; here they are bytes, str and int.
A read that fails is repeated on the other endpoints. A write is repeated only if nothing was sent:
a lost answer raises Ambiguous, because the write may have been applied.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from ..errors import SourceError
from ..types import JSON
from .store import Ambiguous, Compacted

log = logging.getLogger("pingsix_asgi.config.etcd")

UNAVAILABLE = 14
_TRY_ANOTHER = {4, UNAVAILABLE}
"""gRPC codes DEADLINE_EXCEEDED and UNAVAILABLE: no leader, member stopping, request timed out."""
_OUT_OF_RANGE = 11
_UNAUTHENTICATED = 16
_STALE_AUTH = ("invalid auth token", "revision of auth store is old", "user name is empty")
_NO_AUTH = "authentication is not enabled"
_TRANSPORT = (httpx2.HTTPError, OSError)
"""What a broken exchange raises; OSError covers TLS alerts that come after the handshake."""
_NOTHING_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class EtcdError(SourceError):
    """etcd answered with an error; ``code`` is its gRPC code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(f"etcd: {message}")
        self.message, self.code = message, code


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdOptions:
    """How to reach etcd; times in seconds, defaults are PingSIX's."""

    endpoints: Sequence[str]
    """URLs, or ``host:port`` that take their scheme from the presence of ``tls``."""
    timeout_s: float = 5.0
    connect_timeout_s: float = 3.0
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    """Name to verify in the server's certificate, when it is not the endpoint's host."""


class EtcdClient:
    """Calls to one etcd cluster. Safe for concurrent use in one event loop."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        scheme = "https" if options.tls else "http"
        self._endpoints = [
            (url if "://" in url else f"{scheme}://{url}").rstrip("/") for url in options.endpoints
        ]
        if not self._endpoints:
            raise SourceError("etcd: at least one endpoint is needed")
        self._preferred = 0
        self._token: str | None = None
        self._login = asyncio.Lock()
        self._http: httpx2.AsyncClient | None = None

    async def call(self, path: str, body: JSON, *, is_write: bool = False) -> JSON:
        """POST ``body`` to ``/v3/{path}`` and return the answer.

        Raises EtcdError, Ambiguous for a write whose answer was lost, else SourceError.
        """
        failure: SourceError | None = None
        for _ in self._endpoints:
            index = self._preferred
            try:
                return await self._authorized(index, path, body)
            except _TRANSPORT as error:
                failure = SourceError(f"etcd: {_described(error)}")
                if is_write and not isinstance(error, _NOTHING_SENT):
                    self._prefer_next(index)
                    raise Ambiguous(str(failure)) from error
            except EtcdError as error:
                if error.code not in _TRY_ANOTHER:
                    raise
                failure = error
                if is_write:
                    self._prefer_next(index)
                    raise Ambiguous(str(error)) from error
            self._prefer_next(index)
        raise failure or SourceError("etcd: no endpoint")

    async def stream(
        self, path: str, body: JSON, *, silence_s: float
    ) -> AsyncGenerator[JSON, None]:
        """POST ``body`` and yield the results of a streamed answer until the server ends it.

        Raises TimeoutError when nothing came for ``silence_s``, else as ``call``.
        """
        index = self._preferred
        try:
            async with self._opened(index, path, body, silence_s) as lines:
                async for line in lines:
                    if line:
                        yield _result(line)
        except httpx2.ReadTimeout:
            raise TimeoutError from None
        except _TRANSPORT as error:
            self._prefer_next(index)
            raise SourceError(f"etcd: {_described(error)}") from error
        except EtcdError as error:
            if error.code in _TRY_ANOTHER:
                self._prefer_next(index)
            elif _is_stale(error):
                self.forget_token()
            raise

    @property
    def endpoint(self) -> str:
        """The endpoint the next request goes to."""
        return self._endpoints[self._preferred]

    def forget_token(self) -> None:
        """Log in again before the next request."""
        self._token = None

    def prefer_other(self) -> None:
        """Start the next request at another endpoint, if there is one."""
        self._prefer_next(self._preferred)

    async def aclose(self) -> None:
        """Close all connections; streams end with an error."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _prefer_next(self, failed: int) -> None:
        if self._preferred == failed:
            self._preferred = (failed + 1) % len(self._endpoints)

    async def _authorized(self, index: int, path: str, body: JSON) -> JSON:
        """Call one endpoint, logging in first and once more if the token has expired."""
        headers = await self._authorization(index)
        try:
            return await self._post(index, path, body, headers)
        except EtcdError as error:
            if not self._options.user or not _is_stale(error):
                raise
        if headers.get("authorization") == self._token:
            self.forget_token()
        return await self._post(index, path, body, await self._authorization(index))

    async def _authorization(self, index: int) -> dict[str, str]:
        if not self._options.user:
            return {}
        async with self._login:
            if self._token is None:
                self._token = await self._authenticate(index)
        return {"authorization": self._token} if self._token else {}

    async def _authenticate(self, index: int) -> str:
        body = {"name": self._options.user, "password": self._options.password or ""}
        try:
            answer = await self._post(index, "auth/authenticate", body, {})
        except EtcdError as error:
            if _NO_AUTH not in error.message:
                raise
            log.warning("etcd has authentication switched off; user and password are not used")
            return ""
        token = answer.get("token")
        if not isinstance(token, str):
            raise SourceError("etcd: authenticate answered without a token")
        return token

    async def _post(self, index: int, path: str, body: JSON, headers: Mapping[str, str]) -> JSON:
        request = self._request(index, path, body, headers)
        answer = await self._client().send(request)
        return _decoded(answer.status_code, answer.content)

    @asynccontextmanager
    async def _opened(
        self, index: int, path: str, body: JSON, silence_s: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        headers = await self._authorization(index)
        headers["grpc-metadata-hasleader"] = "true"  # a member cut off from its leader ends it
        request = self._request(index, path, body, headers)
        request.extensions["timeout"] = self._timeout(silence_s).as_dict()
        answer = await self._client().send(request, stream=True)
        try:
            if answer.status_code != 200:
                _decoded(answer.status_code, await answer.aread())
            yield answer.aiter_lines()
        finally:
            await answer.aclose()

    def _request(
        self, index: int, path: str, body: JSON, headers: Mapping[str, str]
    ) -> httpx2.Request:
        url = f"{self._endpoints[index]}/v3/{path}"
        extensions = {}
        if self._options.server_name:
            extensions["sni_hostname"] = self._options.server_name
        return self._client().build_request(
            "POST", url, json=body, headers=headers, extensions=extensions
        )

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            self._http = httpx2.AsyncClient(
                verify=self._options.tls or False,
                timeout=self._timeout(self._options.timeout_s),
                trust_env=False,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8),
            )
        return self._http

    def _timeout(self, read_s: float) -> httpx2.Timeout:
        return httpx2.Timeout(
            connect=self._options.connect_timeout_s,
            read=read_s,
            write=self._options.timeout_s,
            pool=self._options.timeout_s,
        )


def _decoded(status: int, body: bytes) -> JSON:
    try:
        # The gateway of some versions appends gRPC trailers after the JSON of an error.
        document, _ = json.JSONDecoder().raw_decode(body.decode())
    except ValueError:
        # a proxy, or no etcd at all: as good as an endpoint that does not answer
        raise EtcdError(f"answer {status} is not JSON", UNAVAILABLE) from None
    if not isinstance(document, dict):
        raise EtcdError(f"answer {status} is not an object", UNAVAILABLE)
    if status != 200 or "error" in document:
        raise _error(document)
    return document


def _result(line: str) -> JSON:
    try:
        document = json.loads(line)
    except ValueError:
        raise EtcdError("a line of a stream is not JSON", UNAVAILABLE) from None
    if not isinstance(document, dict):
        raise EtcdError("a line of a stream is not an object", UNAVAILABLE)
    if "error" in document:
        raise _error(document)
    return document.get("result", document)


def _error(document: dict[str, Any]) -> SourceError:
    """Make the exception for either shape: flat for calls, nested for streams."""
    error = document.get("error", document)
    fields = error if isinstance(error, dict) else document
    code = fields.get("code", fields.get("grpc_code", fields.get("grpcCode", 2)))
    text = str(fields.get("message", error))
    if code == _OUT_OF_RANGE:
        return Compacted(f"etcd: {text}")
    return EtcdError(text, code if isinstance(code, int) else 2)


def _is_stale(error: EtcdError) -> bool:
    return error.code == _UNAUTHENTICATED or any(text in error.message for text in _STALE_AUTH)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""Address: what the URL of a JetStreamStore says."""

from __future__ import annotations

import re
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from eskernel_stores.urls import shown

NAME: Final = "eskernel"
"""What the streams are called after, if the URL does not say."""

REPLICAS: Final = 3
"""Servers that keep each message, if the URL does not say."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MOST_REPLICAS: Final = 5  # the server's own limit
_ESCAPES: Final = "in a password write %23 for #, %2F for /, %3F for ?"
_FORM: Final = "write nats://user:password@host:port,host:port/name?replicas=3"


class Login(NamedTuple):
    """How to introduce oneself to every server.

    Attributes:
        user, password, token: None for what is not asked.
        credentials: path of a file of credentials.
        tls: for servers whose certificates the system does not know, or who want one.
        is_secret: whether to speak with servers that encrypt only.
    """

    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None
    tls: ssl.SSLContext | None = None
    is_secret: bool = False


class Address(NamedTuple):
    """Servers, who asks them, and the name of a store.

    Attributes:
        servers: `nats://host:port` or `tls://host:port`, each.
        is_secret: whether the URL says `tls`.
        user, password, token: for the servers; None for what the URL does not say.
        name: what the streams are called after.
        replicas: servers that keep each message.
        shown: the URL without its secrets.
    """

    servers: tuple[str, ...]
    is_secret: bool
    user: str | None
    password: str | None
    token: str | None
    name: str
    replicas: int
    shown: str

    @classmethod
    def of(cls, url: Any) -> Address:
        """Return what a URL says; raises ValueError if it is no store's."""
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("nats", "tls"):
                raise ValueError("the scheme is not nats")
            if parts.fragment:
                raise ValueError(f"a # stands for nothing; {_ESCAPES}")
            login, _, hosts = parts.netloc.rpartition("@")
            servers = tuple(_server(parts.scheme, host) for host in hosts.split(","))
            name, replicas = _name(parts.path), _replicas(parts.query)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{_shown(url)} names no JetStream: {error}; {_FORM}") from None
        user, colon, password = (unquote(part) for part in login.partition(":"))
        return cls(
            servers,
            parts.scheme == "tls",
            user if colon else None,
            password if colon else None,
            None if colon else user or None,
            name,
            replicas,
            _shown(url),
        )


def _shown(url: Any) -> str:
    """Return a URL without its password; a user without one is a token, and as secret."""
    if not isinstance(url, str):
        return repr(url)
    return shown(re.sub(r"(://)[^/@:]*@", r"\1***@", url))


def _server(scheme: str, host: str) -> str:
    parts = urlsplit(f"{scheme}://{host}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    try:
        port = parts.port
    except ValueError:  # its message may show the beginning of a password
        raise ValueError(f"a port is no number of 0 to 65535; {_ESCAPES}") from None
    return f"{scheme}://{host}" if port is not None else f"{scheme}://{host}:4222"


def _name(path: str) -> str:
    name = path.removeprefix("/") or NAME
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} is not 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return name


def _replicas(query: str) -> int:
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    text = options.pop("replicas", str(REPLICAS))
    if options:
        raise ValueError(f"the option {next(iter(options))!r} is unknown")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_REPLICAS):
        raise ValueError(f"replicas is a number of 1 to {_MOST_REPLICAS}, not {text!r}")
    return int(text)

"""Addresses of other machines: what in them is secret has no place in a command, and is never shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from imer_ray.errors import UserError

_URI = re.compile(r"([a-z][a-z0-9+.-]*)://([^?#\s]*)\??([^#\s]*)", re.IGNORECASE)
_SECRET = re.compile(r"secret|token|passw|signature|(access|account|api|private)_?key|^(key|sig|credentials?)$", re.I)
_NAMED = ("hdfs", "viewfs")  # whose user is a name and no key


def refuse_secrets(key: str, text: str) -> None:
    """Refuse a URI that holds a key, a password or a token: it may be an access key of ``s3://KEY:SECRET@bucket``.

    All users of a machine can read the words of its commands, and what a command is told goes into files.

    Raises:
        UserError: the message says where the secret was, and not what it is.
    """
    for scheme, place, query in _URI.findall(text):
        if not (_has_secret_user(scheme.lower(), place) or any(_is_secret(*pair) for pair in parse_qsl(query))):
            continue
        rest = place.rpartition("@")[2].partition("/")[0] if "@" in place else place
        raise UserError(
            f"{key}: the address {scheme}://...{rest} holds a key, password or token, which others could read in the "
            "command and in what it writes: leave it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a "
            "profile in ~/.aws), or what else the file system reads its secrets from"
        )


def _has_secret_user(scheme: str, place: str) -> bool:
    authority, slash, path = place.partition("/")
    user, at, _ = authority.rpartition("@")
    if at:
        return user != "anonymous" and not (scheme in _NAMED and ":" not in user)
    port = authority.partition(":")[2]  # a secret with a slash in it, as it was copied
    return "@" in path and bool(port) and not port.isdigit()


def _is_secret(name: str, value: str) -> bool:
    if any(_has_secret_user(scheme.lower(), place) for scheme, place, _ in _URI.findall(value)):
        return True
    return bool(_SECRET.search(name))

"""The visits of browsers where the server has a key: a cookie stands for the key.

It holds a time and its HMAC under the key: nothing is kept of it here, and another key ends all visits.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

LOGIN_PATH, LOGOUT_PATH, COOKIE = "/login", "/logout", "acestep_session"
KEPT_SECONDS = 30 * 24 * 3600


def token_of(key: str, now: float | None = None) -> str:
    """What a cookie holds from now on for a time."""
    until = int((time.time() if now is None else now) + KEPT_SECONDS)
    return f"{until}.{_mac(key, until)}"


def is_token(token: str, key: str, now: float | None = None) -> bool:
    """Whether a cookie's value was made with this key, and is not too old."""
    until, _, mac = token.partition(".")
    if not until.isdecimal() or len(until) > 12 or int(until) < (time.time() if now is None else now):
        return False
    return hmac.compare_digest(mac.encode(), _mac(key, int(until)).encode())


def _mac(key: str, until: int) -> str:
    return hmac.new(key.encode(), f"page {until}".encode(), hashlib.sha256).hexdigest()


def has_session(headers: Mapping[str, str], key: str) -> bool:
    """Whether the cookie of a request, its header names in lower case, stands for the key."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return found is not None and is_token(found.value, key)

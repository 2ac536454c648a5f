"""A browser's way in where the server has a key: a form takes it, and a cookie stands for it from then on."""

import html
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from .sessions import COOKIE, KEPT_SECONDS, LOGIN_PATH, LOGOUT_PATH, has_session, token_of

_FORM_BYTES_MOST = 10_000
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in · ACE-Step cascade</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 95vh; margin: 0 }}
form {{ display: grid; gap: 12px; width: min(320px, 88vw) }} h1 {{ font-size: 20px; margin: 0 }}
input, button {{ font: inherit; padding: 10px 12px; border-radius: 8px; border: 1px solid #8888 }}
button {{ background: #6d4aff; color: #fff; border: 0; cursor: pointer }} p {{ margin: 0 }} .error {{ color: #d33 }}
</style></head><body><form method="post" action="login"><h1>ACE-Step cascade</h1>
<label for="key">The key of this server</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
{error}<button>Sign in</button></form></body></html>"""


def login_routes(access) -> APIRouter:
    """The form, and what takes its key."""
    router = APIRouter(include_in_schema=False)

    @router.get(LOGIN_PATH)
    def form(request: Request) -> Response:
        inside = access.key is None or has_session(request.headers, access.key)
        return RedirectResponse("./", 303) if inside else page()

    @router.post(LOGIN_PATH)
    async def login(request: Request) -> Response:
        text = (await request.body())[:_FORM_BYTES_MOST].decode(errors="replace")
        given = parse_qs(text).get("key", [""])[0].strip()
        if access.key is None or not access.has_key(given):
            return page("This is not the key.", 401)
        answer = RedirectResponse("./", 303)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        token = token_of(access.key)
        answer.set_cookie(COOKIE, token, KEPT_SECONDS, httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post(LOGOUT_PATH)
    def logout() -> Response:
        answer = RedirectResponse("./login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router


def page(error: str = "", status: int = 200) -> HTMLResponse:
    shown = f'<p class="error" role="alert">{html.escape(error)}</p>' if error else ""
    headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"}
    return HTMLResponse(_PAGE.format(error=shown), status, headers)

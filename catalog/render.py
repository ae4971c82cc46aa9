"""Turn a template and values into a page.

Every value is escaped, and a name that a template uses but was not given is an error. Templates
hold no inline script, style or event handler, so the content security policy needs no exception.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from catalog.security import csrf_field, is_signed_in

TEMPLATES = Path(__file__).parent
UNKNOWN = "unknown"


def page(request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
    """The rendered template; `run` among the values brings its navigation and address (`root`)."""
    run = values.get("run")
    given = {
        "run": None,
        "root": run and run.address,
        **values,
        "path": request.url.path,
        "csrf": lambda: csrf_field(request),
        "signed_in": is_signed_in(request),
        "needs_token": request.app.state.settings.token is not None,
    }
    body = _environment().get_template(template).render(given)
    return HTMLResponse(body, status_code=status_code)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "share": share,
        "figure": figure,
        "seconds": seconds,
        "size": size,
        "day": day,
        "words": in_words,
        "segment": segment,
    }
    environment.globals["parts"] = environment.get_template("parts.html").module
    return environment


def segment(name: str) -> str:
    """A name as one segment of an address."""
    return quote(name, safe="")


def in_words(name: object) -> str:
    """`too_few_words` as people write it."""
    return str(name).replace("_", " ")


def number(value: Any) -> str:
    """A count with thin spaces between thousands, as 12 808."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return UNKNOWN if value is None else str(value)
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def share(value: Any) -> str:
    """A share between 0 and 1 as 32.7 %."""
    if not isinstance(value, int | float):
        return UNKNOWN
    return f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%"


def figure(value: Any) -> str:
    """A measured figure with three decimals; a count as a count."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return number(value)


def seconds(value: Any) -> str:
    """A time as 0.4 s, 35 s, 4 min 05 s or 2 h 10 min."""
    if not isinstance(value, int | float):
        return UNKNOWN
    if value < 10:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def size(value: Any) -> str:
    """Bytes as 1.2 MB, in powers of ten."""
    if not isinstance(value, int | float):
        return UNKNOWN
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def day(value: Any) -> str:
    """A time as 2026-11-26 08:45, in UTC as it was recorded."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return UNKNOWN

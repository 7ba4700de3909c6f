"""Django in one file: synchronous views over an asynchronous client, aiohttp, and the ORM beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import aiohttp
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils import translation

from tidegate import await_

BACKEND = f"http://{os.environ['BACKEND']}"

settings.configure(
    SECRET_KEY="for tests only",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    USE_I18N=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()


async def fetch(target: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(BACKEND + target) as answer:
        return await answer.text()


def meet(request: HttpRequest, count: int) -> HttpResponse:
    """With a language of its own, which Django keeps in a context."""
    name = request.GET["name"]
    with translation.override("de" if int(name) % 2 else "fr"):
        answer = await_(fetch(f"/meet/{count}?{name}"))
        return JsonResponse({"name": name, "backend": answer, "language": translation.get_language()})


def query(request: HttpRequest) -> HttpResponse:
    """The ORM's synchronous side asks that no loop runs on its thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 6 * 7")
        before = cursor.fetchone()[0]
    return JsonResponse([before, await_(fetch("/delay/0?x"))], safe=False)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(3):
            yield await_(fetch(f"/delay/0?{number}"))

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def asynchronous(request: HttpRequest) -> HttpResponse:
    """Django runs it in a loop of its own, on a thread, for which this one waits."""
    return HttpResponse(await fetch("/delay/0?asynchronous"))


urlpatterns = [
    path("meet/<int:count>", meet),
    path("query", query),
    path("stream", stream),
    path("asynchronous", asynchronous),
]
application = get_wsgi_application()

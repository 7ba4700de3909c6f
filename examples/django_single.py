"""Django in one file (`pip install django`): `tidegate django_single`, or `django_single:asgi` for ASGI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from secrets import token_urlsafe

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

# A key that lives as long as the process is enough while nothing is signed for longer than that.
settings.configure(
    ALLOWED_HOSTS=os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(","),
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY") or token_urlsafe(),
)


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello from Django. Try /greet/you and /count/10.\n", content_type="text/plain")


def greet(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse({"greeting": f"Hello, {name}!"})


def count(request: HttpRequest, limit: int) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(1, limit + 1):
            yield f"{number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


urlpatterns = [path("", home), path("greet/<str:name>", greet), path("count/<int:limit>", count)]

application = get_wsgi_application()
asgi = get_asgi_application()

"""Hello in Django: one view behind the middleware that says the length."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    LOGGING_CONFIG=None,
)


def hello(request: HttpRequest) -> HttpResponse:
    """Answer 13 bytes."""
    return HttpResponse(b"Hello, World!", content_type="text/plain")


urlpatterns = [path("", hello)]
app = get_wsgi_application()

"""A Django project in one file, whose view lets the server send what only some may see."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="neap tide", MIDDLEWARE=[])
django.setup()


def report(request: HttpRequest) -> HttpResponse:
    if "key" not in request.GET:
        return HttpResponse("not for you", status=403)
    answer = HttpResponse(content_type="text/csv")
    answer["X-Accel-Redirect"] = "/internal/report.csv"
    answer["Content-Disposition"] = 'attachment; filename="tides.csv"'
    answer["Cache-Control"] = "private"
    return answer


urlpatterns = [path("report", report)]
application = get_wsgi_application()
asynchronous = get_asgi_application()

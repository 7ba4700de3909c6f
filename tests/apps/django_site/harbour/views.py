"""What the project shows: the ORM, forms, files, bodies, streams and sessions."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Iterator

from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from apps.django_site.harbour.models import Reading


def home(request: HttpRequest) -> HttpResponse:
    """A page with a form, whose token comes in the page and in a cookie."""
    return render(request, "harbour/home.html", {"readings": Reading.objects.all()})


def readings(request: HttpRequest) -> HttpResponse:
    rows = (
        Reading.objects.filter(place=request.GET["place"])
        if "place" in request.GET
        else Reading.objects.all()
    )
    return JsonResponse({"readings": list(rows.values("place", "height")), "database": connection.vendor})


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Writes in a transaction, which a height that is no number undoes as a whole."""
    with transaction.atomic():
        for height in request.POST.getlist("height"):
            Reading.objects.create(place=request.POST["place"], height=int(height))
    return redirect("/")


@csrf_exempt
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    sent = request.FILES["file"]
    name = default_storage.save(sent.name, sent)
    return JsonResponse(
        {
            "name": name,
            "size": default_storage.size(name),
            "kind": type(sent).__name__,
            "note": request.POST["note"],
        }
    )


def download(request: HttpRequest, name: str) -> FileResponse:
    """Django gives the file to the server's `wsgi.file_wrapper`."""
    return FileResponse(default_storage.open(name), as_attachment=True, filename=name)


@csrf_exempt
def body(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "size": len(request.body),
            "sha256": hashlib.sha256(request.body).hexdigest(),
            "length": request.META.get("CONTENT_LENGTH"),
        }
    )


def stream(request: HttpRequest, count: int) -> StreamingHttpResponse:
    def rows() -> Iterator[str]:
        for number in range(count):
            yield f"{number},{Reading.objects.first()}\n" if number == 0 else f"{number}\n"

    return StreamingHttpResponse(rows(), content_type="text/csv")


async def on_the_loop(request: HttpRequest) -> JsonResponse:
    """Waits in the loop, and in the database in a thread."""
    await asyncio.sleep(0.01)
    first = await Reading.objects.afirst()
    return JsonResponse({"first": str(first), "kind": type(request).__name__})


async def stream_on_the_loop(request: HttpRequest, count: int) -> StreamingHttpResponse:
    async def rows() -> AsyncIterator[str]:
        try:
            for number in range(count):
                yield f"{number}\n"
                await asyncio.sleep(0)
        finally:
            sys.stderr.write("probe: django stream closed\n")

    return StreamingHttpResponse(rows(), content_type="text/csv")


def visits(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"], "secure": request.is_secure()})


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("probe: django broke")

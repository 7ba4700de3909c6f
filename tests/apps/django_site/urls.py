from django.contrib import admin
from django.urls import path

from apps.django_site.harbour import views

urlpatterns = [
    path("", views.home),
    path("readings/", views.readings),
    path("readings/add/", views.add),
    path("upload/", views.upload),
    path("download/<str:name>", views.download),
    path("body/", views.body),
    path("stream/<int:count>/", views.stream),
    path("sessions/", views.visits),
    path("broken/", views.broken),
    path("async/", views.on_the_loop),
    path("async-stream/<int:count>/", views.stream_on_the_loop),
    path("admin/", admin.site.urls),
]

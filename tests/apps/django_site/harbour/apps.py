from django.apps import AppConfig


class HarbourConfig(AppConfig):
    name = "apps.django_site.harbour"
    label = "harbour"

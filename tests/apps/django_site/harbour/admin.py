from django.contrib import admin

from apps.django_site.harbour.models import Reading

admin.site.register(Reading)

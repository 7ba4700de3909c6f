from django.db import models


class Reading(models.Model):
    """The height of the water at a place, in centimetres."""

    place = models.CharField(max_length=100)
    height = models.IntegerField()
    taken_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "harbour"
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.place}: {self.height} cm"

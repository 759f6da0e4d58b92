from django.contrib import admin
from django.db import models


class Document(models.Model):
    file = models.FileField()


admin.site.register(Document)

"""``/admin/v1``. ``application`` makes it of routes, each of them data; commands that work on the
database need no more than the module of what they change.

A new operation is a row in ``permissions``, a ``Route`` with its models in the module of its noun,
and a test.
"""

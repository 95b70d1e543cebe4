"""The wheel, installed into environments that already have the packages it stands beside.

``python -m tests.beside`` (or ``.ci/beside``) needs Python alone, with ``uv`` or pip.
"""

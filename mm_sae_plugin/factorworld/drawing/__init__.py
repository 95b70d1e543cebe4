"""How a scene becomes a picture.

``render`` puts it together, back to front: ``backdrops`` behind, ``things`` or ``people`` on the
ground, ``marks`` for what is else said in words. All draw with the ``pen`` in the colours of the
``palette``.
"""

"""The one room that imports every floor: here the daemon is built out of its parts.

`documents.py`, `services.py` and `routes.py` have one line for each noun, in the order of the floors; `ground.py` has
what all services stand on, `partner.py` the ways to the other node, `daemon.py` the whole. `outside.py` is
apart, because the monitor takes it alone.
"""

"""Plugins: stevedore finds them, pluggy registers them, their offers are judged, their hooks called."""

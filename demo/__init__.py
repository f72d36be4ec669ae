"""The main job, on two virtual nodes: `python -m demo` starts the product in the lab and drives it by its JSON API."""

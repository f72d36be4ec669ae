"""The contract: all that a plugin sees of Holdfast, with `errors`, `values`, `system` and `testing`."""

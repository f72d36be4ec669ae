"""The command line of Holdfast. It speaks the JSON API and knows nothing of the core."""

"""Random faults under load, drawn from a seed, with an audit after each: `python -m soak`, see README.md."""

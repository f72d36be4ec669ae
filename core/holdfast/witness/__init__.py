"""The witness: a third host that grants the right to go on without the partner, and what a node asks it with."""

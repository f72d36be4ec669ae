"""Data replication: tasks and their runs, destinations, and what is given back."""

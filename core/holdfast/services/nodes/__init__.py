"""This node and its partner."""

"""The stages: nodes.py holds pure functions, pipeline.py wires them."""

"""Training of hierarchical networks, on PyTorch and Lightning.

Importing this package imports neither; import the module that you need.
"""

"""The network, its losses and its training: PyTorch, timm and Lightning live here and nowhere else.

Importing this package imports none of them; import the module that you need.
"""

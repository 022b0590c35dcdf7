"""Backbones, attention, heads and pretrained weights, on PyTorch and timm.

Importing this package imports neither; import the module that you need.
"""

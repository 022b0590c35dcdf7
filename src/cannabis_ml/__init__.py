"""Train, evaluate and export image classifiers for cannabis and crop photos."""

__version__ = "0.1.0"

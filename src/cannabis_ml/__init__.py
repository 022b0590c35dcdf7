"""Photos of cannabis and crops to a classifier that can be put in a phone and believed."""

__version__ = "0.1.0"

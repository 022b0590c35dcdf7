"""Versions of photos and bundles on the Hugging Face hub: one commit and one tag each."""

"""The web service over a bundle: answers over HTTP, with limits."""

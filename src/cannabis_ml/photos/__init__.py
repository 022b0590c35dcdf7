"""One photo: decode it safely, resize it, fingerprint it, draw a sample."""

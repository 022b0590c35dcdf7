"""The champion: which bundle is in production, since when and why, and the way back."""

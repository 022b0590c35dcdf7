"""What can be wrong with a photo, and with a set of photos: one file per check."""

"""What can be wrong with a set of photos: one file per check."""

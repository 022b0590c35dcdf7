"""What can be wrong with one photo: one file per check."""

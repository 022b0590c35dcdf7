"""What to label next: photos worth a person's time, each with its reason."""

"""What people tell of answers: their opinions, kept, vetted, and counted for retraining."""

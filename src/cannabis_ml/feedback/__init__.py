"""Feedback: people's opinions on answers, stored, vetted, and counted for retraining."""

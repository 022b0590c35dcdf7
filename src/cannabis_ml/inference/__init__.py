"""Answers from exported models: numpy and a runtime, no training framework."""

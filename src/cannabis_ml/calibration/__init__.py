"""Fitting what inference applies: calibrators, unknown scores, prediction sets, promises."""

"""Calibration: how true the confidences of a model file are, before and after calibrators."""

"""Guidance and schedule of the release."""

"""Intervals, tests and power: plain numbers in, frozen dataclasses out."""

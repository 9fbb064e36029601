"""Formats that describe masks: the drawing's JSON, colours and layouts written as text, and the overlay picture.

Imports torch only, like all of masks/.
"""

"""Text and pictures that describe regions: the drawing's JSON, the colour grammar, the layout grammar, the overlay.

Each module turns one such format into masks, or masks into a picture. Like all of masks/, they import torch only.
"""

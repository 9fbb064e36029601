"""Mask maths. Imports torch only, so that every function can be read and tested without ComfyUI.

A mask is a float32 tensor (B, H, W) in 0..1, 1 inside. Its pixels are mask pixels until it is resized to the latent.
`formats/` holds the text and picture formats that describe masks.
"""

"""Mask maths. Imports torch only, so every function here can be read and tested without a host.

A *mask* is a float tensor in 0..1; 1 means "here". Its pixels are mask pixels until it is resized to the latent.
"""

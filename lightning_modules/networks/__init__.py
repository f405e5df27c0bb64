"""Backbones: each file offers an `Encoder` (image to vector) and a `Decoder` (latent to image).

An `Encoder` is a sequence whose last layer is linear: what comes before it are its features.
"""

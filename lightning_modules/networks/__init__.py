"""Backbones: each file offers an `Encoder` (image to vector) and a `Decoder` (latent to image)."""

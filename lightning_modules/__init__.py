"""The models: what is trained, and what it is made of."""

"""What scores are made of: extractors, features, distances, and the protocol that travels with them."""

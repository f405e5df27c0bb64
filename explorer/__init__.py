"""A page on which a person looks into trained models: what is drawn, apart from how it is laid out."""

"""How fast the project trains, beside loops without a framework, and how cost grows."""

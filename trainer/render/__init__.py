"""Random people in front of random cameras, and pictures of them."""

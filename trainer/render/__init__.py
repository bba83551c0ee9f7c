"""Random people in front of random cameras, and rendered images of them."""

"""Cards: the image that they are written from, what is on it, and how many are written at once."""

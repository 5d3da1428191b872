"""Images: where they come from by name, address or file, and the cache that keeps them."""

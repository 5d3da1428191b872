"""The inventory of a cluster: names and addresses, keys, files, reservations, host keys."""

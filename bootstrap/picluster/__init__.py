"""From a box of boards with stock SD cards to a cluster that Ansible can reach."""

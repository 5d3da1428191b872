"""First boots: burnt cards, each started by a real kernel with the system of its generation, judged from outside."""

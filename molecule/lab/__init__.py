"""The container lab: nodes that boot from burnt cards, for whoever has no Pi at hand."""

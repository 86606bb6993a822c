"""Flows on the simplex: every position holds a point of the (V − 1)-simplex that moves from noise to a vertex."""

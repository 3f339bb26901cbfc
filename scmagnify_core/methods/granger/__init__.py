"""scMagnify itself: a multi-scale nonlinear Granger model on lagged TF expression.

``config``     every hyper-parameter with its published default
``model``      the network that emits one coefficient per cell, lag and candidate edge; loss and penalties
``training``   the loop: batches of neighbours in pseudotime, schedule, early stop, history
``inference``  coefficients over all cells, reduced to a :class:`~scmagnify_core.network.Network`
"""

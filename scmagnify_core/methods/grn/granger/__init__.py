"""scMagnify itself: a multi-scale nonlinear Granger model on lagged TF expression.

``config``     every hyper-parameter with its published default
``model``      the network that emits one coefficient per cell, lag and candidate edge; loss and penalties
``backbone``   coefficients that are the same in all cells, and their strength
``sizes``      what training takes of memory
``training``   what is fitted to what: a model to the targets, or to what a backbone leaves over
``loop``       batches of neighbours in pseudotime, schedule, early stop, history
``inference``  coefficients over all cells, reduced to a :class:`~scmagnify_core.network.network.Network`
``family``     its record as a family
"""

"""Where up is, as one person in one image tells it.

direction.py   directions with an uncertainty: tangent planes, covariances, information
features.py    an estimated body as the network's input, in the body's own axes
network.py     the shipped network, evaluated in NumPy: features -> up and its covariance
fusion.py      what people tell over time, for a camera that stands still until it is moved
"""

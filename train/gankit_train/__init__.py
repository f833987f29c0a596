"""A compact trainer for small GANs.

>>> from gankit_train.config import configure
>>> from gankit_train.loop import train
>>> from gankit_train.terminal import Console
>>> train(configure("dcgan", data="digits", images=500_000), Console())
"""

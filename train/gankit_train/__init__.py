"""A compact trainer for small GANs.

>>> from gankit_train.config.settings import configure
>>> from gankit_train.training.loop import train
>>> from gankit_train.reporting.console import Console
>>> train(configure("dcgan", data="digits", images=500_000), Console())
"""

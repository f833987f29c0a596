"""A compact trainer for small GANs.

>>> from gankit_train.config.variants import configure
>>> from gankit_train.reporting.console import Console
>>> from gankit_train.training.loop import train
>>> train(configure("dcgan", data="digits", images=500_000), Console())
"""

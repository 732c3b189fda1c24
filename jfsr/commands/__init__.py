"""What each command of ``jfsr`` does; its options are in :mod:`jfsr.__main__`.

A command imports what it needs when it runs, so that ``jfsr --help`` answers at once.
"""

"""The front of the house: settings, doors and manners."""

__version__ = "0.1.0"

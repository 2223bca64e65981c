"""Victims: networks with the recipes they are trained with."""

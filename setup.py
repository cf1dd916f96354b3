"""Entry point for Dataflow's ``--setup_file=./setup.py``; every fact stands in pyproject.toml."""

from setuptools import setup

setup()

"""The service and the command line. Imports `indexer` and `model`."""

"""From files to a searchable index: scan, decode, encode, store, publish. Imports `model`, never `app`."""

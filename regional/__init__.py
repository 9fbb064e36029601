"""The engines: they sample one canvas with a base and its regions."""

"""What the package is used for: the library behind each verb and demo, without an interface."""

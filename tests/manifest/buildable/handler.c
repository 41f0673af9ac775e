// Only there to be found: this is what a handler in C would be built of.

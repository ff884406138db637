"""Events: appends as messages, written, found, read and put together again."""

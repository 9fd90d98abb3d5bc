"""Published methods, one file each, in families: sentences made of the library's parts."""

//! The way of a plugin's author.

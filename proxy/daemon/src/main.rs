//! The `warmline-proxyd` program: arguments, signals, start; nothing else.

fn main() {}

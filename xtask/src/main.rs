//! Corral's developer commands.
fn main() {}

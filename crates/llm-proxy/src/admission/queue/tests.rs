//! The fair order alone, without clocks or tasks.

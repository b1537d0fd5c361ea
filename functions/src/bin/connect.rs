//! The `$connect` route.

fn main() {}

//! HTTP: what is said to clients and to people, and nothing else.

#[cfg_attr(not(test), expect(dead_code, reason = "no route leads here yet"))]
pub mod pages;

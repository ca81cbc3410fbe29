//! The store's operations as one suite: whatever is done to a store, in whatever order and however much of it at once, it comes
//! to what a small reference model says.
//!
//! [`words`] is what can be done. [`reference`] is what must come of it, on plain collections, written from the design.
//! [`strategy`] draws what is tried. [`subject`] is the real store, the only part that knows one: everything that can be seen of
//! it is made into lines and compared after every step.
//!
//! A failure prints the shortest story that leads to it, and the seed that repeats the run.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a suite that can't go on fails"
)]

mod reference;
mod strategy;
mod subject;
mod suite;
mod words;

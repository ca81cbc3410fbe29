//! Nodepath hosts AI conversations.
pub mod channel;
pub mod cli;
pub mod model;

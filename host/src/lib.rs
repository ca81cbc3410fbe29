//! Nodepath hosts AI conversations.
pub mod model;

//! Nodepath hosts AI conversations.
pub mod model;
pub mod plugin;

//! Nodepath hosts AI conversations.
pub mod config;
pub mod model;
pub mod store;
pub mod telemetry;

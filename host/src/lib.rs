//! Nodepath hosts AI conversations.
pub mod app;
pub mod channel;
pub mod cli;
pub mod config;
pub mod delivery;
mod http;
pub mod model;
pub mod plugin;
pub mod store;
pub mod telemetry;
pub mod turn;

//! Nodepath hosts AI conversations.
pub mod channel;
pub mod cli;
pub mod delivery;
mod http;
pub mod model;
pub mod plugin;
pub mod store;
pub mod turn;

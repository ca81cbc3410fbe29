//! `nodepath demo`: a host, and providers that are only played.

pub mod graph_rules;
pub mod provider;
pub mod receiver;
mod stage;
pub mod webhooks;

#[cfg(test)]
mod tests;

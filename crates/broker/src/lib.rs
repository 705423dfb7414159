//! broker
pub mod config;
